"""Verification of a running system's log, partition by partition, on as many cores as it is given."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from aiokafka import TopicPartition

from schemas.topics import CONVERSATION_EVENTS, DEAD_LETTERS, WORKFLOW_DEFINITIONS, WORKFLOW_EVENTS
from streams.replay.difference import Difference, Differs
from streams.replay.files import CONVERSATIONS, buried, graphs_of
from streams.replay.place import BEGINNING, Place
from streams.replay.verification import Counts, Verification
from streams.replay.window import Window, window
from streams.runtime import Record, RuntimeFailed, tail
from streams.runtime.positions import committed
from streams.runtime.reading import partition_counts

SKEW_MS = 3_600_000
"""How far the clocks of producers may be apart. Outputs are looked for from this long before the period on."""
PROGRESS_S = 1.0
WORTH_PROCESSES = 50_000
"""Events from which on it pays to start more processes: they take a second to start, and one reads so many in ten."""


@dataclass(slots=True)
class Outcome:
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    difference: Difference | None = None
    """The first one of the first partition that has one."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Job:
    """One partition. Travels to another process."""

    bootstrap: str
    partition: int
    since: Place
    limit: int | None
    decided: int | None
    """The position up to which everything has been decided and published; None when nobody has committed one."""
    dead: frozenset[tuple[int, int]]
    definitions: tuple[Record, ...]
    partitions: int
    """Of the topic."""


async def verify_log(
    bootstrap: str,
    *,
    since: Place = BEGINNING,
    limit: int | None = None,
    partitions: Sequence[int] | None = None,
    processes: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Fold every partition of conversation.events. `limit` counts events over all of them; each gets its share."""
    began = time.monotonic()
    counts = await partition_counts(bootstrap, [CONVERSATION_EVENTS, WORKFLOW_EVENTS])
    count = counts[CONVERSATION_EVENTS]
    if counts[WORKFLOW_EVENTS] != count:
        raise RuntimeFailed(
            f"{CONVERSATION_EVENTS} has {count} partitions and {WORKFLOW_EVENTS} {counts[WORKFLOW_EVENTS]}: outputs are found "
            "beside their causes only while the counts are equal. Record the conversations you are after and verify the file"
        )
    chosen = sorted(set(partitions)) if partitions else list(range(count))
    if missing := [number for number in chosen if not 0 <= number < count]:
        raise RuntimeFailed(f"{CONVERSATION_EVENTS} has the partitions 0 to {count - 1}: there is no partition {missing[0]}")
    decided = await committed(bootstrap, CONVERSATIONS, [TopicPartition(CONVERSATION_EVENTS, number) for number in chosen])
    definitions = tuple(await everything(bootstrap, WORKFLOW_DEFINITIONS))
    dead = await dead_of(bootstrap)
    jobs = [
        Job(
            bootstrap,
            number,
            since,
            None if limit is None else limit // len(chosen) + (at < limit % len(chosen)),
            decided.get(TopicPartition(CONVERSATION_EVENTS, number)),
            dead,
            definitions,
            count,
        )
        for at, number in enumerate(chosen)
    ]
    outcome = Outcome(notes=graphs_of(definitions)[1])
    if processes is None:
        processes = (os.cpu_count() or 1) if sum(decided.values()) >= WORTH_PROCESSES and limit is None else 1
    async for part in _each(jobs, processes, progress):
        outcome.counts.add(part.counts)
        outcome.notes += part.notes
        if part.difference is not None:
            outcome.difference = part.difference
            break
    outcome.seconds = time.monotonic() - began
    return outcome


async def dead_of(bootstrap: str) -> frozenset[tuple[int, int]]:
    """(partition, offset) of the events that went to dead letters; the letters themselves may be large, and many."""
    found: set[tuple[int, int]] = set()
    async with tail(bootstrap, [DEAD_LETTERS], "earliest", until_end=True) as letters:
        async for letter in letters:
            found |= buried([letter])
    return frozenset(found)


async def everything(bootstrap: str, topic: str, wanted: Callable[[Record], bool] = lambda record: True) -> list[Record]:
    """What is on a topic now, as far as it is wanted: nothing else stays in memory."""
    async with tail(bootstrap, [topic], "earliest", until_end=True) as records:
        return [record async for record in records if wanted(record)]


async def _each(jobs: Sequence[Job], processes: int, progress: Callable[[str], None]) -> AsyncIterator[Outcome]:
    """The outcomes in the order of partitions."""
    if processes <= 1 or len(jobs) == 1:
        for job in jobs:
            yield await _verify(job, progress)
        return
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        works = [loop.run_in_executor(pool, _in_process, job) for job in jobs]
        try:
            for at, work in enumerate(works, 1):
                outcome = await work
                progress(f"{at} of {len(jobs)} partitions")
                yield outcome
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_process(job: Job) -> Outcome:
    try:
        return asyncio.run(_verify(job, lambda line: None))
    except KeyboardInterrupt:
        return Outcome()  # the process that asked was interrupted too, and says so


async def _verify(job: Job, progress: Callable[[str], None]) -> Outcome:
    outcome = Outcome()
    slack = Place("time", max(0, job.since.value - SKEW_MS)) if job.since.kind == "time" else BEGINNING
    numbers = [job.partition]
    async with (
        window(job.bootstrap, CONVERSATION_EVENTS, job.since, partitions=numbers) as events,
        window(job.bootstrap, WORKFLOW_EVENTS, slack, partitions=numbers) as outputs,
    ):
        graphs, _ = graphs_of(job.definitions)
        verification = Verification(graphs, whole=_whole(events, outputs), partitions=job.partitions, dead=job.dead)
        outcome.counts = verification.counts
        outcome.notes += [str(cut) for cut in (*events.cuts, *outputs.cuts)]
        try:
            await _Fold(job, verification, events, outputs, progress).run()
        except Differs as found:
            outcome.difference = found.difference
        outcome.notes += verification.notes
        if events.disorder.records:
            outcome.notes.append(f"{CONVERSATION_EVENTS}-{job.partition}: {events.disorder}")
    return outcome


def _whole(*windows: Window) -> bool:
    """Whether nothing lies before the period, and nothing ever did."""
    return all(start == 0 for part in windows for start in part.starts.values())


@dataclass(slots=True)
class _Fold:
    """Reads both topics side by side, so that neither runs far ahead of the other."""

    job: Job
    verification: Verification
    events: Window
    outputs: Window
    progress: Callable[[str], None]
    told: float = field(default_factory=time.monotonic)
    log: AsyncGenerator[list[Any], None] = field(init=False)
    ahead: deque[Any] = field(default_factory=deque)
    """Outputs that were fetched and not looked at yet."""

    async def run(self) -> None:
        job, verification = self.job, self.verification
        ends: Mapping[TopicPartition, int] = self.events.ends
        if job.decided is not None:  # what lies behind has perhaps been decided and not been published yet
            self.events.ends = {tp: max(self.events.starts[tp], min(end, job.decided)) for tp, end in ends.items()}
        self.log = self.outputs.batches()
        left = job.limit
        total = len(self.events)
        async for batch in self.events.batches():
            for raw in batch if left is None else batch[:left]:
                if self.events.takes(raw):
                    verification.event(raw)
                else:
                    verification.before(raw)
            await self._claim()
            self._tell(total)
            if left is not None:
                left -= len(batch)
                if left <= 0:
                    break
        else:
            while await self._more():
                for raw in self.ahead:
                    verification.output(raw)
                self.ahead.clear()
        await self.log.aclose()
        verification.end()

    async def _claim(self) -> None:
        """Read the outputs on until all that are expected so far have been seen, and no further."""
        while self.verification.waiting and await self._more():
            self.verification.outputs(self.ahead)

    async def _more(self) -> bool:
        """Whether there is another output; reads the next batch when there is none at hand."""
        while not self.ahead:
            try:
                self.ahead.extend(await anext(self.log))
            except StopAsyncIteration:
                return False
        return True

    def _tell(self, total: int) -> None:
        now = time.monotonic()
        if now - self.told >= PROGRESS_S:
            self.told = now
            done = self.verification.counts.events
            self.progress(f"{CONVERSATION_EVENTS}-{self.job.partition}: {done:,} of {total:,} events")
