"""Makes the projection again from the log, while the system runs or not. What people read is incomplete until it is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from aiokafka import TopicPartition

from streams.projector import PROJECTED, Partition, Projector
from streams.replay.window import Window, window
from streams.runtime import RuntimeFailed
from streams.runtime.reading import Reader, record_of

LOOK_S = 0.2
PROGRESS_S = 1.0
BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Store:
    """What a rebuild needs of the store besides writing to it."""

    reset: Callable[[], Awaitable[object]]
    """Empty it and go back to the beginning; whoever was writing can write no more."""
    progress: Callable[[], Awaitable[Mapping[Partition, int]]]
    """Partition → the next offset it will take."""
    overtaken: type[Exception]
    """What the projection raises once somebody else has taken its partitions."""


@dataclass(slots=True)
class Rebuilt:
    records: int
    seconds: float
    taken_over: bool
    """A running projector finished the work."""


async def missing(bootstrap: str, topics: tuple[str, ...] = PROJECTED) -> list[str]:
    """What retention has deleted and a rebuild cannot bring back, in words; the rows about it would be lost."""
    cuts = []
    for topic in topics:
        async with window(bootstrap, topic) as period:
            cuts += [str(cut) for cut in period.cuts]
    return cuts


async def rebuild(
    bootstrap: str,
    projector: Projector,
    store: Store,
    *,
    topics: tuple[str, ...] = PROJECTED,
    report: Callable[[str], None] = lambda line: None,
    patience_s: float = 60.0,
) -> Rebuilt:
    """Reset the store and fill it up to where the log ends now.

    It takes every partition over, so a projector that runs meanwhile cannot write between; when that one has begun anew, it takes
    them back and goes on from where this has come. Raises RuntimeFailed when it then stands still for `patience_s`.
    """
    began = time.monotonic()
    reader = Reader(bootstrap, topics)
    await reader.start()
    try:
        ends = await reader.ends()
        beginnings = await reader.beginnings()
        await store.reset()
        work = _Work(Window(reader, beginnings, ends, ()), projector, report)
        taken_over = False
        try:
            await work.fill()
        except store.overtaken:
            taken_over = True
            report("a running projector has taken the rest over")
            await _reached(store, Window(reader, beginnings, ends, ()), report, patience_s)
    finally:
        await reader.stop()
    return Rebuilt(len(work.period), time.monotonic() - began, taken_over)


@dataclass(slots=True)
class _Work:
    period: Window
    projector: Projector
    report: Callable[[str], None]

    async def fill(self) -> None:
        """Hand the period to the projector, in its batches."""
        ends = self.period.ends
        await self.projector.positions([(tp.topic, tp.partition) for tp in ends])
        total, done, told = len(self.period), 0, time.monotonic()
        async for raws in self.period.batches():
            for at in range(0, len(raws), BATCH):
                await self.projector.handle([record_of(raw) for raw in raws[at : at + BATCH]])
            done += len(raws)
            if time.monotonic() - told >= PROGRESS_S:
                told = time.monotonic()
                self.report(f"{done:,} of {total:,} records")


async def taken(reader: Reader, progress: Mapping[Partition, int], ends: Mapping[TopicPartition, int]) -> bool:
    """Whether a store that has come to `progress` has every record before `ends`; a partition it does not name, from 0.

    The last record is looked for in the log, since what stands between it and the end may be transaction markers alone.
    """
    starts = {tp: min(end, progress.get((tp.topic, tp.partition), 0)) for tp, end in ends.items()}
    async with aclosing(Window(reader, starts, ends, ()).batches()) as rest:
        async for raws in rest:
            if raws:
                return False
    return True


async def _reached(store: Store, period: Window, report: Callable[[str], None], patience_s: float) -> None:
    """Wait until somebody else has filled the store, as long as that comes closer."""
    left, moved = -1, time.monotonic()
    while True:
        progress = await store.progress()
        behind = sum(
            max(0, end - max(period.starts[tp], progress.get((tp.topic, tp.partition), 0))) for tp, end in period.ends.items()
        )
        if behind != left:
            left, moved = behind, time.monotonic()
        elif await taken(period.reader, progress, period.ends):
            return
        elif time.monotonic() - moved > patience_s:
            raise RuntimeFailed(
                f"the projector that took the rebuild over has not moved for {patience_s:g} s and is {behind:,} records behind: "
                "look at its log, stop it, and type `hil rebuild` again"
            )
        await asyncio.sleep(LOOK_S)
