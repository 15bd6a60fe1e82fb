"""A period of one topic: where it lies in each partition, what retention has cut off it, and its records in the order of time.

Times are their producers' claims and may lie in any order. A period by time has each record whose own time is in it, so it ends
where the topic ends: nobody knows before what comes behind a record that is ahead. Where it begins the broker knows: no record
before the first that is not older than a time can be of the period.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from streams.replay.place import BEGINNING, END, Place, moment
from streams.runtime import Record, RuntimeFailed
from streams.runtime.reading import Reader, partition_counts, record_of

POLL_MS = 200
PROGRESS_S = 2.0
WAITING_BYTES = 64 << 20
"""Of records that wait while partitions are merged; beyond it only partitions are read of which there is none."""
RECORD_BYTES = 500
"""What a record takes beside its key and value."""
APPENDED = 1
"""A record whose time is the broker's own, at which it was written: in order."""
DISORDER_MS = 1_000
"""From how far out of order on times are worth a word: clocks of producers are never quite alike."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Retention has deleted records that the period asks for."""

    topic: str
    partition: int
    beginning: int
    """The first offset that is still there."""
    timestamp_ms: int | None
    """Of the record there; None when nothing is left."""

    def __str__(self) -> str:
        head = f"{self.topic}-{self.partition} begins at offset {self.beginning}"
        if self.timestamp_ms is None:
            return f"{head}: retention has deleted everything in it"
        return f"{head}, of {moment(self.timestamp_ms)}: retention has deleted what was before"


@dataclass(slots=True)
class Disorder:
    """Records that are older than one before them on their partition."""

    records: int = 0
    most_ms: int = 0
    _latest: dict[TopicPartition, int] = field(default_factory=dict)

    def sees(self, raw: Any, tp: TopicPartition) -> None:
        latest = self._latest.get(tp, raw.timestamp)
        if raw.timestamp >= latest:
            self._latest[tp] = raw.timestamp
        elif latest - raw.timestamp >= DISORDER_MS:
            self.records += 1
            self.most_ms = max(self.most_ms, latest - raw.timestamp)

    def __str__(self) -> str:
        return (
            f"times are out of order: {self.records:,} lie behind later ones, by up to {self.most_ms / 1000:,.0f} s. "
            "They are their producers', and each record is taken by its own"
        )


@dataclass(slots=True)
class Window:
    """An open period. `starts` and `ends` are half open, as of when it was opened; within them each record's own time decides."""

    reader: Reader
    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    cuts: tuple[Cut, ...]
    since_ms: int | None = None
    until_ms: int | None = None
    progress: Callable[[str], None] = lambda line: None
    disorder: Disorder = field(default_factory=Disorder)
    """As far as it has been read."""
    _past: set[TopicPartition] = field(default_factory=set)
    """Partitions of which nothing more can be of the period."""
    _read: int = 0
    _told: float = field(default_factory=time.monotonic)

    def __len__(self) -> int:
        """Offsets in the period; compaction and transaction markers leave some of them empty."""
        return sum(max(0, self.ends[tp] - start) for tp, start in self.starts.items())

    def takes(self, raw: Any) -> bool:
        """Whether a record within the period's offsets is of its time. Each record is asked about once, in its order."""
        if self.since_ms is None and self.until_ms is None:
            return True
        tp = TopicPartition(raw.topic, raw.partition)
        if self.until_ms is not None and raw.timestamp >= self.until_ms and raw.timestamp_type == APPENDED:
            self._past.add(tp)
        if raw.timestamp_type != APPENDED:
            self.disorder.sees(raw, tp)
        return (self.since_ms is None or raw.timestamp >= self.since_ms) and (
            self.until_ms is None or raw.timestamp < self.until_ms
        )

    async def batches(self) -> AsyncGenerator[list[Any], None]:
        """aiokafka's records as they come, each partition's in order, up to the end, whatever their time."""
        self.reader.seek(self.starts)
        ahead = {tp: end for tp, end in self.ends.items() if self.starts[tp] < end}
        while ahead and not await self.reader.reached(ahead):
            raws = await self.reader.read(POLL_MS)
            if len(self.ends) == 1:
                (end,) = self.ends.values()
                yield raws if raws and raws[-1].offset < end else [raw for raw in raws if raw.offset < end]
            else:
                yield [raw for raw in raws if raw.offset < ahead.get(TopicPartition(raw.topic, raw.partition), 0)]

    async def by_time(self) -> AsyncGenerator[Record, None]:
        """All partitions merged by timestamp, as far as each partition's own order allows."""
        waiting: dict[TopicPartition, deque[Any]] = {tp: deque() for tp, start in self.starts.items() if start < self.ends[tp]}
        heads: list[tuple[int, TopicPartition]] = []
        empty, held = set(waiting), 0
        self.reader.seek(self.starts)
        while waiting:
            if empty:
                full = held >= WAITING_BYTES
                for raw in await self.reader.read(POLL_MS, sorted(empty) if full else ()):
                    self._count()
                    tp = TopicPartition(raw.topic, raw.partition)
                    if tp in waiting and raw.offset < self.ends[tp] and self.takes(raw):
                        waiting[tp].append(raw)
                        held += _size(raw)
                for tp in sorted(empty):
                    if waiting[tp]:
                        heapq.heappush(heads, (waiting[tp][0].timestamp, tp))
                        empty.discard(tp)
                    elif tp in self._past or await self.reader.reached({tp: self.ends[tp]}):
                        empty.discard(tp)
                        del waiting[tp]
                continue
            _, tp = heapq.heappop(heads)
            first = waiting[tp].popleft()
            held -= _size(first)
            yield record_of(first)
            if waiting[tp]:
                heapq.heappush(heads, (waiting[tp][0].timestamp, tp))
            else:
                empty.add(tp)

    def _count(self) -> None:
        self._read += 1
        if time.monotonic() - self._told >= PROGRESS_S:
            self._told = time.monotonic()
            self.progress(f"{self._read:,} of {len(self):,} records read")

    async def onwards(self) -> AsyncGenerator[Record, None]:
        """What comes after the period, as it comes. Only after the period itself has been read."""
        self.reader.seek(self.ends)
        while True:
            for raw in await self.reader.read(POLL_MS):
                if self.takes(raw):
                    yield record_of(raw)


def _size(raw: Any) -> int:
    return len(raw.key or b"") + len(raw.value or b"") + RECORD_BYTES


@asynccontextmanager
async def window(
    bootstrap: str,
    topic: str,
    start: Place = BEGINNING,
    end: Place = END,
    *,
    partitions: list[int] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> AsyncIterator[Window]:
    """Open a period of a topic, or of some of its partitions. Raises RuntimeFailed when there is no such topic or partition.

    `progress` is told every now and then how far a long reading has come.
    """
    count = (await partition_counts(bootstrap, [topic]))[topic]
    wanted = list(range(count)) if partitions is None else sorted(set(partitions))
    if missing := [number for number in wanted if not 0 <= number < count]:
        raise RuntimeFailed(f"{topic} has the partitions 0 to {count - 1}: there is no partition {missing[0]}")
    reader = Reader(bootstrap, (topic,))
    await reader.start([TopicPartition(topic, number) for number in wanted])
    try:
        beginnings, ends = await reader.beginnings(), await reader.ends()
        starts = await _offsets(reader, start, beginnings, ends)
        stops = ends if end.kind == "time" else await _offsets(reader, end, beginnings, ends)
        yield Window(
            reader,
            starts,
            {tp: max(starts[tp], stops[tp]) for tp in starts},
            await _cuts(reader, start, beginnings, ends),
            since_ms=start.value if start.kind == "time" else None,
            until_ms=end.value if end.kind == "time" else None,
            progress=progress,
        )
    finally:
        await reader.stop()


async def _offsets(
    reader: Reader, place: Place, beginnings: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    match place.kind:
        case "beginning":
            return dict(beginnings)
        case "end":
            return dict(ends)
        case "offset":
            return {tp: min(max(place.value, beginnings[tp]), ends[tp]) for tp in ends}
        case "time":
            found = await reader.offsets_at(place.value)
            return {tp: min(found[tp], ends[tp]) for tp in ends}


async def _cuts(
    reader: Reader, start: Place, beginnings: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> tuple[Cut, ...]:
    """Where the period begins before what is left of a partition."""
    cut = {tp: offset for tp, offset in beginnings.items() if offset > 0}
    if start.kind == "end" or not cut:
        return ()
    oldest = await reader.oldest()
    found = []
    for tp, offset in sorted(cut.items()):
        first = oldest.get(tp) if offset < ends[tp] else None
        before = start.value < offset if start.kind == "offset" else first is None or start.value < first
        if start.kind == "beginning" or before:
            found.append(Cut(tp.topic, tp.partition, offset, first))
    return tuple(found)
