"""What has arrived for one member of a group. Where reading stands is known here alone: aiokafka keeps the membership and the
position that is committed, its own fetching is paused for good. Committed records only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords

from streams.runtime.broker.fetching import PARTITION_BYTES, Fetching
from streams.runtime.broker.producer import Batch
from streams.runtime.broker.requests import Fetched
from streams.runtime.closing import end
from streams.runtime.model import Record
from streams.runtime.tolerant import TolerantRecords

WATCH_MS = 500
AHEAD = 2_000
"""Records of a partition that nobody has taken yet, beyond which it is not asked for."""


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
        self._arrived: dict[TopicPartition, list[Record]] = {}
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
        for partition in partitions:
            self._consumer.seek(partition, 0)  # any position: while aiokafka looks for one it does not heed the pause
            self._consumer.pause(partition)
        for partition in self._positions.keys() - set(partitions):
            self._fetching.forget(partition, self)
            del self._positions[partition]
            self._paused.discard(partition)
            self._ends.pop(partition, None)
            self._arrived.pop(partition, None)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._positions[partition] = offset
        self._arrived.pop(partition, None)
        self._fetching.read(partition, self)

    def pause(self, partition: TopicPartition) -> None:
        """Nothing more of it is handed over until `resume`."""
        self._paused.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        self._paused.discard(partition)
        if partition in self._arrived:
            self._news.set()
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
        if partition in self._paused or len(self._arrived.get(partition, ())) >= AHEAD:
            return None
        return self._positions.get(partition)

    def take(self, fetched: Fetched, position: int) -> None:
        """Raises OffsetOutOfRangeError, CorruptRecordException, or whatever else a broker will not mend."""
        tp = fetched.partition
        if self._positions.get(tp) != position:
            return
        error = kafka_errors.for_code(fetched.error)
        if error is kafka_errors.OffsetOutOfRangeError:
            raise kafka_errors.OffsetOutOfRangeError({tp: position})
        if error is not kafka_errors.NoError:
            raise error(f"{tp.topic}-{tp.partition} cannot be read: {error.__name__}")
        self._ends[tp] = fetched.high_watermark
        if not fetched.records:
            return
        records, self._positions[tp] = (_without_aborted if fetched.aborted else _records)(fetched, position)
        if records:
            self._arrive(tp, records)

    def offer(self, partition: TopicPartition, offset: int, batch: Batch) -> bool:
        if self._positions.get(partition) != offset or self.wanted(partition) is None:
            return False
        topic, number = partition
        records = [
            Record(topic, number, at, timestamp_ms, out.key, out.value, out.headers)
            for at, (timestamp_ms, out) in enumerate(batch.records, offset)
        ]
        self._positions[partition] = self._ends[partition] = offset + len(records)
        self._arrive(partition, records)
        return True

    def _arrive(self, partition: TopicPartition, records: list[Record]) -> None:
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


def _records(fetched: Fetched, position: int) -> tuple[list[Record], int]:
    """(the records from `position` on, the offset after them). The first batch may begin too early."""
    topic, partition = fetched.partition
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
        following = max(following, batch.next_offset)
    if following == position:
        raise kafka_errors.CorruptRecordException(
            f"{topic}-{partition} has a record at {position} that is larger than the {PARTITION_BYTES} bytes of one answer"
        )
    return found, following


def _without_aborted(fetched: Fetched, position: int) -> tuple[list[Record], int]:
    """The same where a transaction was given up: aiokafka knows how to leave out what belonged to it."""
    found = PartitionRecords(
        fetched.partition, TolerantRecords(fetched.records), fetched.aborted, position, None, None, True, READ_COMMITTED
    )
    records = [
        Record(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)) for raw in found
    ]
    return records, found.next_fetch_offset


def _first(arrived: Mapping[TopicPartition, list[Record]], most: int) -> dict[TopicPartition, list[Record]]:
    taken = {}
    for tp, records in arrived.items():
        if most <= 0:
            break
        taken[tp] = records[:most]
        most -= len(records)
    return taken
