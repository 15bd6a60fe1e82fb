"""A period of one topic: where it lies in each partition, what retention has cut off it, and its records in the order of time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import TopicPartition

from streams.replay.place import BEGINNING, END, Place
from streams.runtime import Record, RuntimeFailed
from streams.runtime.reading import Reader, partition_counts, record_of

POLL_MS = 200


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
        at = datetime.fromtimestamp(self.timestamp_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        return f"{head}, of {at}Z: retention has deleted what was before"


@dataclass(slots=True)
class Window:
    """An open period. `starts` and `ends` are half open, as of when it was opened."""

    reader: Reader
    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    cuts: tuple[Cut, ...]

    def __len__(self) -> int:
        """Offsets in the period; compaction and transaction markers leave some of them empty."""
        return sum(max(0, self.ends[tp] - start) for tp, start in self.starts.items())

    async def batches(self) -> AsyncGenerator[list[Any], None]:
        """aiokafka's records as they come, each partition's in order, up to the end."""
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
        empty = set(waiting)
        self.reader.seek(self.starts)
        while waiting:
            if empty:
                for raw in await self.reader.read(POLL_MS):
                    tp = TopicPartition(raw.topic, raw.partition)
                    if tp in waiting and raw.offset < self.ends[tp]:
                        waiting[tp].append(raw)
                for tp in sorted(empty):
                    if waiting[tp]:
                        heapq.heappush(heads, (waiting[tp][0].timestamp, tp))
                        empty.discard(tp)
                    elif await self.reader.reached({tp: self.ends[tp]}):
                        empty.discard(tp)
                        del waiting[tp]
                continue
            _, tp = heapq.heappop(heads)
            yield record_of(waiting[tp].popleft())
            if waiting[tp]:
                heapq.heappush(heads, (waiting[tp][0].timestamp, tp))
            else:
                empty.add(tp)

    async def onwards(self) -> AsyncGenerator[Record, None]:
        """What comes after the period, as it comes. Only after the period itself has been read."""
        self.reader.seek(self.ends)
        while True:
            for raw in await self.reader.read(POLL_MS):
                yield record_of(raw)


@asynccontextmanager
async def window(
    bootstrap: str, topic: str, start: Place = BEGINNING, end: Place = END, *, partitions: list[int] | None = None
) -> AsyncIterator[Window]:
    """Open a period of a topic, or of some of its partitions. Raises RuntimeFailed when there is no such topic or partition."""
    count = (await partition_counts(bootstrap, [topic]))[topic]
    wanted = list(range(count)) if partitions is None else sorted(set(partitions))
    if missing := [number for number in wanted if not 0 <= number < count]:
        raise RuntimeFailed(f"{topic} has the partitions 0 to {count - 1}: there is no partition {missing[0]}")
    reader = Reader(bootstrap, (topic,))
    await reader.start([TopicPartition(topic, number) for number in wanted])
    try:
        beginnings, ends = await reader.beginnings(), await reader.ends()
        starts = await _offsets(reader, start, beginnings, ends)
        stops = await _offsets(reader, end, beginnings, ends)
        yield Window(
            reader, starts, {tp: max(starts[tp], stops[tp]) for tp in starts}, await _cuts(reader, start, beginnings, ends)
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
