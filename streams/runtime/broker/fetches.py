"""What has arrived for one member of a group. Where reading stands is known here alone: aiokafka keeps the membership and the
position that is committed, its own fetching is paused for good. Committed records only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords

from streams.runtime.begun import Begin, Begun
from streams.runtime.broker.fetching import PARTITION_BYTES, Fetching
from streams.runtime.broker.producer import Batch
from streams.runtime.broker.requests import Fetched
from streams.runtime.closing import end
from streams.runtime.model import Outgoing, Record, Unreadable
from streams.runtime.tolerant import RECORD_BYTES, TolerantRecords, unreadable

WATCH_MS = 500
AHEAD = 2_000
"""Records of a partition that nobody has taken yet, beyond which it is not asked for."""


class Early:
    """What of a partition is begun while it is on its way to the broker."""

    __slots__ = ("apart", "begin", "written")

    def __init__(self, begin: Begin[Any]) -> None:
        self.begin = begin
        self.written: deque[Begun[Any]] = deque()
        """Not durable yet, in their order."""
        self.apart: dict[int, Begun[Any]] = {}
        """Durable, by offset, until they have their place among the records that are handed over."""

    def durable(self, out: Outgoing, offset: int, timestamp_ms: int) -> Begun[Any] | None:
        if not self.written or self.written[0].out is not out:
            return None
        begun = self.written.popleft()
        begun.offset, begun.timestamp_ms = offset, timestamp_ms
        self.apart[offset] = begun
        return begun

    @property
    def settled(self) -> bool:
        """Whether everything that is durable has its place."""
        if self.apart:
            self.apart = {offset: begun for offset, begun in self.apart.items() if not begun.placed}
        return not self.apart


class Fetches:
    """`seek` a partition and `resume` it; `poll` hands over its records in order, from there on without a gap."""

    def __init__(self, consumer: Any, fetching: Fetching) -> None:
        """`consumer`: the aiokafka consumer that is the member."""
        self._consumer = consumer
        self._fetching = fetching
        self._positions: dict[TopicPartition, int] = {}
        """The next offset to ask for."""
        self._paused: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, int] = {}
        self._arrived: dict[TopicPartition, list[Any]] = {}
        self._early: dict[TopicPartition, Early] = {}
        self._failure: Exception | None = None
        self._news = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The member has joined."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        self.assigned(())
        if self._watching is not None:
            await end({self._watching})

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """These are the member's from now on, and no others. They are read from where they are next sought."""
        for partition in sorted(partitions):
            self._consumer.seek(partition, 0)  # any position: while aiokafka looks for one it does not heed the pause
            self._consumer.pause(partition)
        for partition in sorted(self._positions.keys() - set(partitions)):
            self._fetching.forget(partition, self)
            self._fetching.arrived.leave(partition)
            del self._positions[partition]
            self._paused.discard(partition)
            self._ends.pop(partition, None)
            self._arrived.pop(partition, None)
            self._early.pop(partition, None)

    def early(self, partition: TopicPartition, begin: Begin[Any] | None) -> None:
        """Records this process writes to it may be begun at once from now on; None: no more, and nothing of those begun."""
        if begin is None:
            self._early.pop(partition, None)
        else:
            self._early[partition] = Early(begin)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._positions[partition] = offset
        self._arrived.pop(partition, None)
        self._fetching.arrived.join(partition)
        self._fetching.arrived.drop(partition, offset)
        self._fetching.read(partition, self)

    def pause(self, partition: TopicPartition) -> None:
        """Nothing more of it is handed over until `resume`."""
        self._paused.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        self._paused.discard(partition)
        if partition in self._arrived:
            self._news.set()
        self._fetching.wake(partition)

    def handled(self, partition: TopicPartition, position: int) -> None:
        """Nothing before the position is held any more by whoever took it."""
        if self._fetching.arrived.release(partition, position):
            self._fetching.wake(partition)

    def lighter(self, partition: TopicPartition, offset: int, size: int) -> None:
        """One record is through; what came before it may not be."""
        if self._fetching.arrived.lighten(partition, offset, size):
            self._fetching.wake(partition)

    def position(self, partition: TopicPartition) -> int:
        """The next offset that is asked for."""
        return self._positions[partition]

    def end(self, partition: TopicPartition) -> int | None:
        """The last known end; None before the first answer."""
        return self._ends.get(partition)

    async def poll(self, timeout_s: float, max_records: int | None = None) -> Mapping[TopicPartition, Sequence[Record]]:
        """What has arrived, or nothing after the timeout. Raises KafkaError for what repetition will not mend."""
        if not self._news.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return {}
        if self._failure is not None:
            raise self._failure
        taken = {tp: records for tp, records in self._arrived.items() if tp not in self._paused}
        if max_records is not None:
            taken = _first(taken, max_records)
        for tp, records in taken.items():
            all_of_it = self._arrived.pop(tp)
            if len(all_of_it) > len(records):
                self._arrived[tp] = all_of_it[len(records) :]
            if len(all_of_it) >= AHEAD:
                self._fetching.wake(tp)
        if not self._arrived.keys() - self._paused:
            self._news.clear()
        return taken

    # streams.runtime.broker.fetching.Reading

    def wanted(self, partition: TopicPartition) -> int | None:
        early = self._early.get(partition)
        if not self._has_room(partition) or (early is not None and early.written):
            return None
        return self._positions.get(partition)

    def _has_room(self, partition: TopicPartition) -> bool:
        if partition in self._paused or len(self._arrived.get(partition, ())) >= AHEAD:
            return False
        return self._fetching.arrived.room(partition) > 0

    def take(self, fetched: Fetched, position: int) -> bool:
        """Raises OffsetOutOfRangeError, CorruptRecordException, or whatever else a broker will not mend."""
        tp = fetched.partition
        early = self._early.get(tp)
        if self._positions.get(tp) != position or (early is not None and early.written):
            return False  # sought elsewhere, or there may be records among these that are at work and do not know their place yet
        error = kafka_errors.for_code(fetched.error)
        if error is kafka_errors.OffsetOutOfRangeError:
            raise kafka_errors.OffsetOutOfRangeError({tp: position})
        if error is not kafka_errors.NoError:
            raise error(f"{tp.topic}-{tp.partition} cannot be read: {error.__name__}")
        self._ends[tp] = fetched.high_watermark
        if not fetched.records or not self._fetching.arrived.takes(tp):
            return False
        records, following, size = (_without_aborted if fetched.aborted else _records)(fetched, position)
        self._positions[tp] = following
        if records:
            self._fetching.arrived.add(tp, following, size)
            self._arrive(tp, [early.apart.get(record.offset, record) for record in records] if early is not None else records)
        return True

    def begin(self, partition: TopicPartition, out: Outgoing) -> bool:
        early = self._early.get(partition)
        if early is None or partition in self._paused or partition in self._arrived:
            return False
        if self._ends.get(partition) != self._positions.get(partition) or not early.settled:
            return False  # others have written to it, or may have: first things first
        begun = early.begin(out)
        if begun is not None:
            early.written.append(begun)
        return begun is not None

    def offer(self, partition: TopicPartition, offset: int, batch: Batch) -> bool:
        position = self._positions.get(partition)
        if position is None:
            return False
        following = self._ends[partition] = offset + len(batch.records)
        records, all_begun = self._known(partition, offset, batch)
        if position == offset and all_begun and partition not in self._arrived:
            self._positions[partition] = following
            self._fetching.arrived.add(partition, following, _size_of(batch))
            for begun in records:
                begun.place()
            return True
        if position != offset or not self._has_room(partition):
            return False
        self._positions[partition] = following
        self._fetching.arrived.add(partition, following, _size_of(batch))
        self._arrive(partition, records)
        return True

    def _known(self, partition: TopicPartition, offset: int, batch: Batch) -> tuple[list[Any], bool]:
        """(records that were written, begun ones as such; whether all of them are)."""
        topic, number = partition
        early = self._early.get(partition)
        records: list[Any] = []
        all_begun = True
        for at, (out, timestamp_ms) in enumerate(zip(batch.records, batch.times_ms, strict=True), offset):
            begun = early.durable(out, at, timestamp_ms) if early is not None else None
            all_begun = all_begun and begun is not None
            records.append(begun or Record(topic, number, at, timestamp_ms, out.key, out.value, out.headers))
        return records, all_begun

    def _arrive(self, partition: TopicPartition, records: list[Any]) -> None:
        known = self._arrived.get(partition)
        if known is None:
            self._arrived[partition] = records
        else:
            known += records
        if partition not in self._paused:
            self._news.set()

    def fail(self, error: Exception) -> None:
        self._failure = error
        self._news.set()

    async def _watch(self) -> None:
        """What befalls the membership is told to whoever asks aiokafka for records, of which there are none."""
        try:
            while True:
                await self._consumer.getmany(timeout_ms=WATCH_MS)
        except kafka_errors.KafkaError as error:
            self.fail(error)


def _records(fetched: Fetched, position: int) -> tuple[list[Record], int, int]:
    """(the records from `position` on, the offset after them, about their bytes). The first batch may begin too early."""
    topic, partition = fetched.partition
    size = 0
    found: list[Record] = []
    batches = TolerantRecords(fetched.records)
    following = position
    while batches.has_next():
        batch = batches.next_batch()
        assert batch is not None
        if not batch.validate_crc():
            raise kafka_errors.CorruptRecordException(f"{topic}-{partition} at {following} has a wrong checksum")
        if not batch.is_control_batch:
            for raw in batch:
                if raw.offset >= position:
                    found.append(Record(topic, partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)))
            if batch.unread and found:
                found[-1] = _standing_for(found[-1])
            size += batch.weight
        following = max(following, batch.next_offset)
    if following == position:
        raise kafka_errors.CorruptRecordException(
            f"{topic}-{partition} has a record at {position} that is larger than the {PARTITION_BYTES} bytes of one answer"
        )
    return found, following, size


def _without_aborted(fetched: Fetched, position: int) -> tuple[list[Record], int, int]:
    """The same where a transaction was given up: aiokafka knows how to leave out what belonged to it."""
    found = PartitionRecords(
        fetched.partition, TolerantRecords(fetched.records), fetched.aborted, position, None, None, True, READ_COMMITTED
    )
    records = [
        _standing_for(Record(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)))
        for raw in found
    ]
    size = sum(len(raw.key or b"") + len(raw.value or b"") + RECORD_BYTES for raw in records)
    return records, found.next_fetch_offset, size


def _standing_for(record: Record) -> Record:
    """The record, or what stands for a batch that nobody can read."""
    reason = unreadable(record)
    if reason is None:
        return record
    return Unreadable(record.topic, record.partition, record.offset, record.timestamp_ms, None, None, (), reason)


def _size_of(batch: Batch) -> int:
    return sum(len(out.value or b"") + RECORD_BYTES for out in batch.records)


def _first(arrived: Mapping[TopicPartition, list[Record]], most: int) -> dict[TopicPartition, list[Record]]:
    taken = {}
    for tp, records in arrived.items():
        if most <= 0:
            break
        taken[tp] = records[:most]
        most -= len(records)
    return taken
