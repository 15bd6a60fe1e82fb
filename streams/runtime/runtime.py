"""Runs one processor over its topics, until stopped or until the infrastructure fails. Knows nothing of what the records mean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.runtime.broker.fetching import Fetching
from streams.runtime.broker.identities import topic_ids
from streams.runtime.closing import came, end
from streams.runtime.commits import NOBODY_KNOWS, Commits, GroupCommits, TransactionalCommits, restore
from streams.runtime.member import Member
from streams.runtime.model import DeadLetter, Fenced, Interrupted, Processor, RuntimeFailed, RuntimeSettings, S, StateCodec
from streams.runtime.noted import Identity, Noted
from streams.runtime.partition import PartitionOwner, PartitionStatus
from streams.runtime.patience import BACKOFF_S
from streams.runtime.progress import RestoreProgress
from streams.runtime.publisher import Publisher
from streams.runtime.reading import partition_counts
from streams.runtime.remembering import remember, remembered
from streams.runtime.standby import KEEP_S, Standby
from streams.runtime.store import StateStore
from streams.runtime.surroundings import Surroundings

log = logging.getLogger(__name__)

POLL_S = 0.5
OPENINGS = 3
LATELY_S = 300.0
"""A partition that is lost more often than that in so long, though the group leaves it here, is somebody else's as well."""


class Runtime(Generic[S]):
    """`await run()` until `stop()`. Cancelling `run` is a crash: nothing more is committed."""

    def __init__(
        self,
        settings: RuntimeSettings,
        processor: Processor[S],
        codec: StateCodec[S] | None,
        dead_letter: DeadLetter,
        *,
        publisher: Publisher | None = None,
        fetching: Fetching | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """A `publisher` or `fetching` that is given is shared with others: it is neither started nor stopped here.

        `report` is told how far a restore has come that takes longer than a second.
        """
        if settings.changelogs and codec is None:
            raise ValueError(f"processor {settings.group} has changelogs and no codec for its states: give it one")
        self.settings = settings
        self._processor = processor
        self._codec = codec
        self._dead_letter = dead_letter
        self._shared = publisher
        self._fetching = fetching
        self._report = log.info if report is None else report
        self._progress: RestoreProgress | None = None
        self._owners: dict[TopicPartition, PartitionOwner[S]] = {}
        self._kept: dict[TopicPartition, StateStore[S]] = {}
        self._identities: dict[str, Identity] = {}
        """Of the topics that are read."""
        self._remembered: dict[TopicPartition, Noted] = {}
        """Where partitions without states stood."""
        self._standby: Standby[S] | None = None
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: asyncio.Future[None] | None = None
        self._running = self._over = False
        self._member: Member | None = None
        self._around: Surroundings[S] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._getting_ready: asyncio.Task[None] | None = None
        self._opened_again: dict[TopicPartition, list[float]] = {}
        """When a partition was lost although the group had left it here, lately."""
        self._generation = -1

    async def run(self) -> None:
        """Join the group and handle records. Returns after `stop`; raises RuntimeFailed, Unavailable or Fenced otherwise."""
        self._running = True
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        self._progress = RestoreProgress(self.settings.group, self._report, loop.time)
        publisher: Publisher | None = None
        try:
            counts = await self._check_topics()
            self._standby = self._standby_of(counts)
            publisher = self._shared or await self._own_publisher()
            self._member = Member(self.settings, assigned=self._assigned, revoked=self._revoked, fetching=self._fetching)
            self._around = Surroundings(
                self.settings, self._processor, publisher, self._dead_letter, self._member, self._opened, self._lost, self._fail
            )
            await self._work(self._member, publisher)
            await self._drain_all()
            if self._failure.done():
                self._failure.result()
        finally:
            self._over = True
            if self._getting_ready is not None:
                await end({self._getting_ready})
            await asyncio.gather(*(owner.abort() for owner in self._owners.values()), *self._tasks)
            self._owners.clear()
            self._ready.clear()
            if self._member is not None:
                await self._member.stop()
            if publisher is not None and self._shared is None:
                await (publisher.stop() if self._stop.is_set() else publisher.abort())
            self._ended.set()

    async def stop(self) -> None:
        """Drain what is in flight, commit, leave the group; returns when `run` has ended."""
        self._stop.set()
        if self._running:
            await self._ended.wait()

    async def ready(self) -> None:
        """Returns once every partition assigned to this member is restored and at work. Raises when `run` has ended instead."""
        if not await came(self._ready, unless=self._ended):
            raise RuntimeFailed(f"{self.settings.group} ended before it was ready: its run() says why")

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    def status(self) -> list[PartitionStatus]:
        """Every partition owned, in order."""
        return [self._owners[tp].status() for tp in sorted(self._owners)]

    async def _work(self, member: Member, publisher: Publisher) -> None:
        assert self._failure is not None
        stopping = asyncio.ensure_future(self._stop.wait())
        polling = asyncio.ensure_future(self._poll(member))
        following = asyncio.ensure_future(self._follow())
        try:
            await asyncio.wait(
                (stopping, polling, following, self._failure, publisher.failed), return_when=asyncio.FIRST_COMPLETED
            )
            if publisher.failed.done():
                raise publisher.failure()
            for ended in (self._failure, polling, following):
                if ended.done():
                    ended.result()
        except KafkaError as error:
            raise RuntimeFailed(
                f"{self.settings.group}: the broker at {self.settings.bootstrap} failed it for good: {error!r}"
            ) from error
        finally:
            await end({stopping, polling, following})

    async def _follow(self) -> None:
        await (asyncio.Event().wait() if self._standby is None else self._standby.run())

    async def _poll(self, member: Member) -> None:
        await member.start()
        while True:
            for tp, raws in (await member.poll(POLL_S)).items():
                owner = self._owners.get(tp)
                if owner is not None:
                    owner.feed(raws)
            await asyncio.sleep(0)  # with records at hand, polling does not wait; others must have their turn

    async def _drain_all(self) -> None:
        await asyncio.gather(*(owner.drain(self.settings.drain_deadline_s) for owner in self._owners.values()))

    # What the group tells us. Every rebalance takes all partitions away and gives some back, mostly the same ones. A stateful
    # partition is held meanwhile, its fence up: who may commit is decided there, not by the group. A stateless one has no fence.

    async def _revoked(self, revoked: set[TopicPartition]) -> None:
        self._ready.clear()
        if self._getting_ready is not None:
            self._getting_ready.cancel()
        owners = [owner for tp, owner in self._owners.items() if tp in revoked]
        ended = await asyncio.gather(*(self._let_go(owner) for owner in owners), return_exceptions=True)
        for owner, error in zip(owners, ended, strict=True):
            if error is not None:
                self._fail(error)
            if owner.phase != "holding":
                self._forget(owner)

    async def _let_go(self, owner: PartitionOwner[S]) -> None:
        if owner.stateful and not self._stop.is_set():
            await owner.hold(self.settings.rebalance_patience_s)
        else:
            await owner.drain(self.settings.drain_deadline_s)

    def _forget(self, owner: PartitionOwner[S]) -> None:
        del self._owners[owner.tp]
        self._kept[owner.tp] = owner.log.store

    def _assigned(self, assigned: set[TopicPartition]) -> None:
        assert self._member is not None
        if self._stop.is_set() or self._over:
            return
        closing = self._go_on_with(assigned)
        for tp in sorted(assigned - set(self._owners)):
            self._member.set_aside(tp)
            self._owners[tp] = self._owner_of(tp)
            self._owners[tp].start(closing.get(tp))
        if self._standby is not None:
            for tp in sorted(self._standby.sources - set(self._owners)):
                self._standby.follow(tp, self._kept.get(tp))
        self._kept.clear()
        self._opened(None)

    def _go_on_with(self, assigned: set[TopicPartition]) -> dict[TopicPartition, asyncio.Task[None]]:
        """Held partitions that were never anybody else's go on; the others are closed, and their closing is returned."""
        assert self._member is not None
        before, self._generation = self._generation, self._member.generation
        closing = {}
        for tp, owner in list(self._owners.items()):
            if tp in assigned and self._generation == before + 1 and owner.phase == "holding":
                owner.go_on()
            else:
                self._forget(owner)
                closing[tp] = self._spawn(owner.abort())
        return closing

    def _owner_of(self, tp: TopicPartition) -> PartitionOwner[S]:
        assert self._around is not None
        assert self._member is not None
        identity = self._identities.get(tp.topic, NOBODY_KNOWS)
        if not self.settings.changelogs:
            commits: Commits = GroupCommits(self._member, tp, identity, self._remembered.get(tp), partial(self._remember, tp))
            return PartitionOwner(tp, self._around, commits, StateStore(_NoCodec()), None)
        assert self._codec is not None
        store = self._kept.pop(tp, None)
        if store is None and self._standby is not None:
            store = self._standby.take(tp)
        if store is None or asyncio.get_running_loop().time() - store.known_at > KEEP_S:
            store = StateStore(self._codec, most=self.settings.max_state_bytes)
        commits = TransactionalCommits(self.settings, tp, identity)
        return PartitionOwner(tp, self._around, commits, store, partial(self._restore, tp))

    async def _restore(self, tp: TopicPartition, store: StateStore[Any]) -> int:
        assert self._progress is not None
        self._progress.begins(tp)
        try:
            return await restore(self.settings, tp, store.next_offset, store.load, partial(self._progress.told, tp, store))
        finally:
            self._progress.ended(tp)

    def _remember(self, tp: TopicPartition, noted: Noted) -> None:
        """For who begins without the group's offset."""
        self._remembered[tp] = noted
        if self.settings.positions and self._around is not None:
            self._around.publisher.publish(remember(self.settings.positions, self.settings.group, tp, noted))

    def _opened(self, owner: PartitionOwner[S] | None) -> None:
        if self._getting_ready is None or self._getting_ready.done() or self._getting_ready.cancelling():
            self._getting_ready = asyncio.get_running_loop().create_task(self._get_ready())

    async def _get_ready(self) -> None:
        """Ready is who has opened every partition that is assigned, and heard of its leader that it is read."""
        assert self._member is not None
        while all(owner.phase == "working" for owner in self._owners.values()):
            owners = list(self._owners.values())
            await self._member.asked([owner.tp for owner in owners])
            if owners == list(self._owners.values()) and all(owner.phase == "working" for owner in owners):
                self._ready.set()
                return

    def _lost(self, owner: PartitionOwner[S], error: Fenced) -> None:
        """By another owner, to whom the group will give the partition soon; or by a fault of brokers, and it stays ours."""
        log.error("%s", error)
        self._ready.clear()
        self._spawn(owner.abort())
        wait_s = BACKOFF_S if isinstance(error, Interrupted) else self.settings.session_timeout_ms / 1000
        asyncio.get_running_loop().call_later(wait_s, self._open_again, owner, error)

    def _open_again(self, owner: PartitionOwner[S], error: Fenced) -> None:
        """The group says that it is still ours. A request of our own that a frozen broker carries out late fences us as well."""
        if self._owners.get(owner.tp) is not owner or self._over or self._stop.is_set():
            return
        assert self._member is not None
        now = asyncio.get_running_loop().time()
        lately = self._opened_again[owner.tp] = [at for at in self._opened_again.get(owner.tp, ()) if now - at < LATELY_S]
        lately.append(now)
        if len(lately) > OPENINGS:
            self._fail(
                RuntimeFailed(f"{error}. This has happened {len(lately)} times lately: does another deployment use its name?")
            )
            return
        log.warning("%s: opening %s-%d again, which the group has left with us", self.settings.group, *owner.tp)
        self._forget(owner)
        self._member.set_aside(owner.tp)
        self._owners[owner.tp] = self._owner_of(owner.tp)
        self._owners[owner.tp].start(self._spawn(owner.abort()))

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _fail(self, error: BaseException) -> None:
        assert self._failure is not None
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _own_publisher(self) -> Publisher:
        settings = self.settings
        publisher = Publisher(
            settings.bootstrap,
            client_id=settings.client_id,
            max_message_bytes=settings.max_message_bytes,
            patience_s=settings.broker_patience_s,
        )
        await publisher.start()
        return publisher

    def _standby_of(self, counts: Mapping[str, int]) -> Standby[S] | None:
        settings, codec = self.settings, self._codec
        if not settings.standby or codec is None:
            return None
        sources = {topic: counts[topic] for topic in settings.changelogs}
        return Standby(settings, sources, lambda: StateStore(codec, most=settings.max_state_bytes))

    async def _check_topics(self) -> Mapping[str, int]:
        settings = self.settings
        counts = await partition_counts(settings.bootstrap, (*settings.topics, *settings.changelogs.values()))
        for topic, changelog in settings.changelogs.items():
            if counts[topic] != counts[changelog]:
                raise RuntimeFailed(
                    f"{topic} has {counts[topic]} partitions and its changelog {changelog} has {counts[changelog]}: "
                    "they must be equal. See docs/guides/recovery.md, “Positions”"
                )
        ids = await topic_ids(settings.bootstrap, settings.topics)
        keyed = settings.changelogs  # without states keys may lie on any partition
        self._identities = {topic: Identity(counts[topic] if keyed else 0, ids.get(topic, b"")) for topic in settings.topics}
        if settings.positions:
            self._remembered = await remembered(settings.bootstrap, settings.positions, settings.group)
        return counts


class _NoCodec:
    """For processors without state."""

    def encode(self, state: Any) -> bytes:
        raise TypeError("a stateless processor has no state to encode")

    def decode(self, data: bytes) -> Any:
        raise TypeError("a stateless processor has no state to decode")
