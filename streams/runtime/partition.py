"""One partition while it is ours: opened behind the fence, its records handled, its effects committed, closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal

from aiokafka import TopicPartition

from streams.runtime.acts import Acts
from streams.runtime.begun import Begun, unplaced
from streams.runtime.closing import end
from streams.runtime.commits import Commits
from streams.runtime.committer import Committer
from streams.runtime.dispatch import Dispatch, dispatch
from streams.runtime.effects import EffectsLog, Entry, Put
from streams.runtime.handling import Handling, in_words
from streams.runtime.model import Fenced, Outgoing, Record, RuntimeFailed, S, Unavailable
from streams.runtime.opening import Opening
from streams.runtime.step import ViewOfPartition
from streams.runtime.stopwatch import Stopwatch
from streams.runtime.store import StateStore
from streams.runtime.surroundings import Restore, Surroundings

log = logging.getLogger(__name__)

Phase = Literal["opening", "working", "holding", "draining", "lost", "closed"]
"""`holding`: the group is rebalancing; begun records go on, no other begins."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """For operators: where a partition stands."""

    topic: str
    partition: int
    phase: Phase
    position: int
    """First offset that is not settled."""
    in_flight: int
    lag: int | None
    """Records between the position and the end; None before the first fetch."""
    states: int


class PartitionOwner(Generic[S]):
    def __init__(
        self,
        tp: TopicPartition,
        around: Surroundings[S],
        commits: Commits,
        store: StateStore[S],
        restore: Restore | None,
    ) -> None:
        self.tp = tp
        self.topic, self.partition = tp.topic, tp.partition
        self.phase: Phase = "opening"
        self.stateful = restore is not None
        self.publisher = around.publisher
        self.log: EffectsLog[S] = EffectsLog(store)
        self._around = around
        self._settings = around.settings
        self._commits = commits
        self._committer = Committer(f"{tp.topic}-{tp.partition}", self.log, commits, around.settings, self._refused)
        self._opening = Opening(tp, around, commits, self.log, restore)
        self._handling = Handling(self, around)
        self._dispatch: Dispatch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._acts = Acts()
        self._paused = False
        self._next = 0
        """The offset after the last record fed."""
        self._draining: asyncio.Task[None] | None = None
        self._shutting: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def lost(self) -> Fenced | None:
        """Why this owner may do nothing more in the partition's name."""
        return self._committer.lost

    @property
    def is_open(self) -> bool:
        return self.phase in ("working", "holding", "draining")

    def start(self, after: Awaitable[None] | None = None) -> None:
        """Open; `after`: the closing of whoever had the partition before, in this process."""
        self._spawn(self._open(after))

    async def _open(self, after: Awaitable[None] | None) -> None:
        source, settings = self._around.source, self._settings
        watch = Stopwatch(self._loop.time)
        if after is not None:
            await after
        watch.lap("the former owner's end")
        self._next = await self._opening.run(watch)
        self.phase = "working"
        opened = getattr(self._around.processor, "opened", None)
        if opened is not None:
            opened(ViewOfPartition(self))
        bound, concurrency = settings.max_in_flight, settings.concurrency
        self._dispatch = dispatch(self.log, self._handling.handle, self._spawn, bound=bound, concurrency=concurrency)
        self._spawn(self._committer.run())
        if settings.early:
            source.early(self.tp, self._begin)
        source.resume(self.tp)
        watch.lap("begun")
        log.info("%s: %s is open with %d states: %s", settings.group, self.tp, len(self.log.store), watch)
        self._around.opened(self)

    # Handling

    def feed(self, raws: Sequence[Any]) -> None:
        """Records of this partition have arrived. Before it is open they are dropped: `seek` brings them back."""
        if self._dispatch is None or self.phase != "working":
            return
        self._dispatch.feed(raws)
        self._next = raws[-1].offset + 1
        bound = self._settings.max_in_flight
        if not self._paused and (self._dispatch.backlog >= bound or self.log.in_flight >= bound):
            self._paused = True
            self._around.source.pause(self.tp)

    def _begin(self, out: Outgoing) -> Begun[S] | None:
        """A record of this partition is about to be written by this process."""
        if self._dispatch is None or self.phase != "working":
            return None
        entry = self._dispatch.begin(unplaced(out, self.partition))
        return None if entry is None else Begun(out, entry, self._place)

    def _place(self, begun: Begun[S]) -> None:
        if self._dispatch is None or not self.is_open:
            return
        self._next = begun.offset + 1
        self._dispatch.placed()
        if self.log.place(begun.entry, begun.offset, begun.timestamp_ms):
            self._moved()

    def settle(self, entry: Entry[S]) -> None:
        self._handling.settled()
        if entry.size and entry.offset >= 0:
            self._around.source.lighter(self.tp, entry.offset, entry.size)
        if self.log.settle(entry):
            self._moved()

    def _moved(self) -> None:
        self._committer.moved()
        self._around.source.handled(self.tp, self.log.position)
        if self._dispatch is not None:
            self._dispatch.room()
            if self._paused and self._dispatch.backlog <= self._settings.max_in_flight // 2:
                self._paused = False
                self._around.source.resume(self.tp)

    def gone_ahead(self) -> None:
        self._committer.gone_ahead()

    def commit_soon(self) -> None:
        self._committer.soon()

    async def _refused(self, put: Put[S], reason: str) -> None:
        """The changelog does not take a state. The one before it stays; a dead letter names the record that led to it."""
        log.error("%s: %s: the state of %r is not kept: %s", self._settings.group, self.tp, put.key, reason)
        place = Record(self.topic, self.partition, max(put.offset, 0), 0, None, None, ())  # nothing to retry
        words = f"the state of {put.key!r:.200} that it led to is not kept, the one before stays: {reason}"
        await self.publisher.send([self._around.dead_letter(place, self._settings.group, "state_too_large", words, 1)])

    async def act(self) -> None:
        await self._acts.begin()

    def acted(self) -> None:
        self._acts.end()

    # A rebalance: everything is taken away for a moment, and most of it comes back

    async def hold(self, patience_s: float) -> None:
        """Begin nothing more, wait a little for what is begun, longer for what acts, commit. What cannot be held is closed."""
        if self.phase == "working":
            assert self._dispatch is not None
            self.phase = "holding"
            self._dispatch.hold()
            self._acts.hold()
            try:
                await self._quiet(patience_s)
                await self._committer.commit()
            except Fenced as error:
                log.error("%s", error)
                self.phase = "lost"
        if self.phase != "holding":
            await self.abort()

    def go_on(self) -> None:
        """The partition has stayed ours, without a break."""
        assert self._dispatch is not None
        self.phase = "working"
        self._around.source.seek(self.tp, self._next)
        if self._paused:
            self._around.source.pause(self.tp)
        self._dispatch.go_on()
        self._acts.go_on()

    async def _quiet(self, patience_s: float) -> None:
        """As far as it goes: what is begun goes on, if the partition stays."""
        try:
            await self._handling.all_through(patience_s)
        except TimeoutError:
            if not await self._acts.over(self._settings.action_patience_s):
                log.warning(
                    "%s: %s: an action that was begun takes longer than a rebalance can wait", self._settings.group, self.tp
                )

    # Closing

    async def drain(self, deadline_s: float) -> None:
        """Let begun records end, commit, close. What is not through by the deadline is cancelled and will come again."""
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(deadline_s))
        await asyncio.wait((self._draining,))
        await self._shut()
        if not self._draining.cancelled():
            self._draining.result()

    async def _drain(self, deadline_s: float) -> None:
        if self.phase not in ("working", "holding"):
            return
        await self._finish_begun(deadline_s)
        try:
            await self._committer.commit()
        except Fenced as error:
            log.error("%s", error)
            self.phase = "lost"

    async def _finish_begun(self, deadline_s: float) -> None:
        self.phase = "draining"
        assert self._dispatch is not None
        self._dispatch.stop()
        try:
            await self._handling.all_through(deadline_s)
        except TimeoutError:
            group, active = self._settings.group, self._handling.active
            log.warning("%s: %s: %d records still being handled after %g s come again", group, self.tp, active, deadline_s)

    async def abort(self) -> None:
        """Close as it is, committing nothing more."""
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait((self._draining,))
        await self._shut()

    async def _shut(self) -> None:
        """Once, to the end, whoever asks and however often."""
        if self._shutting is None:
            self._shutting = self._loop.create_task(self._close())
        await asyncio.shield(self._shutting)

    async def _close(self) -> None:
        if self.phase != "lost":
            self.phase = "closed"
        self._committer.cancel_timer()
        self._around.source.early(self.tp, None)
        await end(set(self._tasks))
        self._around.source.handled(self.tp, self._next)
        self.log.abandon(Fenced(f"{self.tp} is closed"))
        was_open, self._dispatch = self._dispatch is not None, None
        closed = getattr(self._around.processor, "closed", None)
        try:
            if was_open and closed is not None:
                closed(self.partition)
        finally:
            await self._commits.close()

    def status(self) -> PartitionStatus:
        end_offset = self._around.source.end(self.tp) if self.phase == "working" else None
        lag = None if end_offset is None else max(0, end_offset - self.log.position)
        return PartitionStatus(
            self.topic, self.partition, self.phase, self.log.position, self.log.in_flight, lag, len(self.log.store)
        )

    def _lose(self, error: Fenced) -> None:
        """Another owner: stop at once, say so once."""
        if self.phase != "lost":
            self.phase = "lost"
            self.log.abandon(error)
            self._around.lost(self, error)

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if self._shutting is None:  # only closing cancels our tasks; work that stops by itself would stop in silence
                self._around.failed(RuntimeFailed(f"{self._settings.group}: work on {self.tp} was cancelled from elsewhere"))
            return
        error = task.exception()
        if isinstance(error, Fenced):
            self._lose(error)
        elif isinstance(error, RuntimeFailed | Unavailable):
            self._around.failed(error)
        elif error is not None:
            failure = RuntimeFailed(f"{self._settings.group} cannot go on with {self.tp}: {in_words(error)}")
            failure.__cause__ = error
            self._around.failed(failure)
