"""One membership of a consumer group: what is ours, what has arrived. Polling and heartbeats go on whatever handlers do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from streams.runtime.begun import Begin
from streams.runtime.broker.answers import may_pass
from streams.runtime.broker.client import use_patient_clients
from streams.runtime.broker.fetches import Fetches
from streams.runtime.broker.fetching import Fetching
from streams.runtime.closing import close, end
from streams.runtime.model import Fenced, Record, RuntimeFailed, RuntimeSettings
from streams.runtime.patience import BROKER_S, REMIND_S
from streams.runtime.reading import Bounds
from streams.runtime.tolerant import tolerate_header_names

log = logging.getLogger(__name__)

BROKERS_LEAST_SESSION_MS = 6_000
"""What a broker allows that has not been told otherwise."""
JOININGS = 3
LATELY_S = 300.0
"""A membership that ends more often than that in so long ends the process."""
RETRY_BACKOFF_MS = 30
"""Before aiokafka asks the group's coordinator again."""


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One membership of a consumer group. Polling and heartbeats go on whatever handlers do."""

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        assigned: Callable[[set[TopicPartition]], None],
        revoked: Callable[[set[TopicPartition]], Awaitable[None]],
        fetching: Fetching | None = None,
    ) -> None:
        """A `fetching` that is given is shared with others: it is neither started nor stopped here."""
        self._settings = settings
        self._assigned = assigned
        self._revoked = revoked
        self._due: list[tuple[TopicPartition, int, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._guarded: Any = None
        self._assignor: Any = _own_sticky_assignor()
        tolerate_header_names()
        use_patient_clients()
        self._session_timeout_ms = settings.session_timeout_ms
        self._joined_anew: list[float] = []
        """When, lately, because a membership had ended."""
        self._consumer: Any = self._consumer_of(settings.session_timeout_ms)
        self._shared = fetching
        self._fetching = fetching or Fetching(
            settings.bootstrap,
            client_id=settings.client_id,
            patience_s=settings.broker_patience_s,
            most_bytes=settings.arrived_bytes,
        )
        self._fetches = Fetches(self._consumer, self._fetching)
        self._bounds = Bounds(settings.bootstrap, settings.topics, client_id=settings.client_id)

    def _consumer_of(self, session_timeout_ms: int) -> Any:
        settings = self._settings
        return AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            client_id=settings.client_id,
            group_id=settings.group,
            group_instance_id=settings.instance,
            enable_auto_commit=False,
            auto_offset_reset="none",  # positions come from `seek` alone; a reset would skip records in silence
            isolation_level="read_committed",
            request_timeout_ms=int(BROKER_S * 1000),
            retry_backoff_ms=RETRY_BACKOFF_MS,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=max(session_timeout_ms, int(settings.drain_deadline_s * 1000) + 10_000),
            partition_assignment_strategy=(self._assignor,),
        )

    async def start(self) -> None:
        """Join; returns with the first assignment."""
        await self._bounds.start()
        if self._shared is None:
            await self._fetching.start()
        await self._join()

    async def _join(self) -> None:
        self._consumer.subscribe(topics=list(self._settings.topics), listener=self)
        joining = asyncio.get_running_loop().create_task(self._consumer.start())
        try:
            while not (await asyncio.wait((joining,), timeout=REMIND_S))[0]:
                log.warning(
                    "%s: still joining: its coordinator does not answer, or another member holds it up", self._settings.group
                )
            joining.result()
        finally:
            await end({joining})
        self._fetches.start()

    async def stop(self) -> None:
        await self._fetches.stop()
        if self._shared is None:
            await self._fetching.stop()
        await asyncio.gather(close(self._consumer.stop()), self._bounds.stop())

    async def poll(self, timeout_s: float, max_records: int | None = None) -> Mapping[TopicPartition, Sequence[Record]]:
        """What has arrived, in order by partition; nothing after the timeout."""
        try:
            return await self._fetches.poll(timeout_s, max_records)
        except kafka_errors.InvalidSessionTimeoutError:
            log.warning(
                "%s: the broker does not allow a session timeout of %d ms (group.min.session.timeout.ms): going on with %d",
                self._settings.group,
                self._session_timeout_ms,
                BROKERS_LEAST_SESSION_MS,
            )
            self._session_timeout_ms = BROKERS_LEAST_SESSION_MS
            await self._join_anew()
            return {}
        except kafka_errors.OffsetOutOfRangeError as error:
            raise RuntimeFailed(
                f"{self._settings.group}: retention has deleted records before they were handled ({error})"
            ) from error
        except kafka_errors.KafkaError as error:
            if not self._may_join_anew(error):
                raise
            log.error("%s: its membership has ended (%s): joining anew", self._settings.group, error)
            await self._join_anew()
            return {}

    def _may_join_anew(self, error: kafka_errors.KafkaError) -> bool:
        """aiokafka ends a membership over any answer it does not expect. What has a name of its own is no surprise."""
        if type(error) is not kafka_errors.KafkaError and not may_pass(type(error)):
            return False
        now = asyncio.get_running_loop().time()
        self._joined_anew = [at for at in self._joined_anew if now - at < LATELY_S] + [now]
        return len(self._joined_anew) <= JOININGS

    async def _join_anew(self) -> None:
        """As a new member: what is assigned then is opened from its fence on, whatever was open here before."""
        await self._fetches.stop()
        await close(self._consumer.stop())
        self._consumer = self._consumer_of(self._session_timeout_ms)
        self._fetches = Fetches(self._consumer, self._fetching)
        await self._join()

    @property
    def generation(self) -> int:
        """Of the group, raised by every rebalance. Who has been in two successive ones missed no assignment between them."""
        return int(self._consumer._coordinator.generation)

    def pause(self, partition: TopicPartition) -> None:
        if partition in self._consumer.assignment():
            self._fetches.pause(partition)

    def set_aside(self, partition: TopicPartition) -> None:
        """Fetch nothing of it before `seek` and `resume`."""
        self.pause(partition)

    def resume(self, partition: TopicPartition) -> None:
        if partition in self._consumer.assignment():
            self._fetches.resume(partition)

    async def asked(self, partitions: Collection[TopicPartition]) -> None:
        """Returns once a broker has answered for each of them, if only that there is nothing."""
        await self._fetching.asked(partitions)

    def early(self, partition: TopicPartition, begin: Begin[Any] | None) -> None:
        """Whether records of a partition may be begun that this process writes and the broker does not have yet, and by whom."""
        self._fetches.early(partition, begin)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._fetches.seek(partition, offset)

    def handled(self, partition: TopicPartition, position: int) -> None:
        """Everything handed over before the position is done with: there is room for more."""
        self._fetches.handled(partition, position)

    def lighter(self, partition: TopicPartition, offset: int, size: int) -> None:
        """A large record is done with, maybe before others that came earlier."""
        self._fetches.lighter(partition, offset, size)

    def end(self, partition: TopicPartition) -> int | None:
        """The last known end of a partition; None before its first fetch."""
        return self._fetches.end(partition) if partition in self._consumer.assignment() else None

    async def lag(self, partitions: Iterable[TopicPartition]) -> int:
        """Records between what was fetched and the ends, asked of the broker."""
        bounds = await self.bounds(list(partitions))
        return sum(max(0, end - self._fetches.position(partition)) for partition, (_, end) in bounds.items())

    async def committed(self, partition: TopicPartition) -> int | None:
        """Asked of the broker every time, never remembered."""
        try:
            async with asyncio.timeout(self._settings.broker_patience_s):
                committed: int | None = await self._consumer.committed(partition)
        except TimeoutError as error:
            raise RuntimeFailed(
                f"{self._settings.group}: for {self._settings.broker_patience_s:g} s no coordinator has told how far "
                f"{partition.topic}-{partition.partition} is handled"
            ) from error
        return committed

    async def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """The first offset there is, and the one past the last, of each."""
        return await self._bounds.of(partitions)

    async def commit(self, partition: TopicPartition, position: int) -> None:
        """Raises Fenced. Positions of partitions that are due together go in one request."""
        if partition not in self._consumer.assignment():
            raise Fenced(f"{self._settings.group} has lost {partition.topic}-{partition.partition} to another member")
        done = asyncio.get_running_loop().create_future()
        self._due.append((partition, position, done))
        if self._committing is None:
            self._committing = asyncio.get_running_loop().create_task(self._commit_due())
        await done

    async def _commit_due(self) -> None:
        while self._due:
            due, self._due = self._due, []
            failure = await self._commit_at_once({partition: position for partition, position, _ in due})
            for _, _, done in due:
                if not done.done():
                    done.set_result(None) if failure is None else done.set_exception(failure)
        self._committing = None

    async def _commit_at_once(self, positions: Mapping[TopicPartition, int]) -> Exception | None:
        group = self._settings.group
        try:
            async with asyncio.timeout(self._settings.broker_patience_s):
                await self._consumer.commit(positions)
        except (kafka_errors.CommitFailedError, kafka_errors.IllegalStateError) as error:
            return Fenced(f"{group} was refused a commit: its partitions may have other owners now ({error})")
        except TimeoutError:
            return RuntimeFailed(f"{group}: a commit was not answered within {self._settings.broker_patience_s:g} s")
        except kafka_errors.KafkaError as error:
            return RuntimeFailed(f"{group}: a commit failed for good: {error!r}")
        return None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._revoked(set(revoked))

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        # aiokafka never tells its assignor; without it a member that was away claims partitions others have had since
        coordinator = self._consumer._coordinator
        self._assignor.on_generation_assignment(coordinator.generation)
        if coordinator is not self._guarded:
            commit_as_member_only(coordinator)
            self._guarded = coordinator
        partitions = set(assigned)
        self._fetches.assigned(partitions)
        self._assigned(partitions)


def commit_as_member_only(coordinator: Any) -> None:
    """Let aiokafka's coordinator send no commit while it is in no generation.

    A broker takes such a commit for that of a lone consumer, and accepts it while the group has no living member: who was away
    for longer than its session, and comes back to a group whose others are away, would put the position back.
    """
    commit = coordinator._do_commit_offsets

    async def guarded(assignment: Any, offsets: Any) -> None:
        if coordinator.generation < 0:
            raise kafka_errors.UnknownMemberIdError
        await commit(assignment, offsets)

    coordinator._do_commit_offsets = guarded


def _own_sticky_assignor() -> type[StickyPartitionAssignor]:
    """aiokafka's sticky assignor remembers its assignment in the class; two members in one process would mix theirs up."""
    state = {"member_assignment": None, "generation": -1, "_latest_partition_movements": None}
    return type("StickyAssignorOfOneMember", (StickyPartitionAssignor,), state)
