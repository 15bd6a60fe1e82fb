"""streams.runtime.broker on the in-memory broker: batches of an idempotent producer, and requests for what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime.broker.arrived import Arrived
from streams.runtime.broker.fetching import Reading
from streams.runtime.broker.requests import Fetched
from streams.runtime.model import Outgoing, Record
from tests.simulation.broker.broker import Broker, Lost
from tests.simulation.broker.log import Entry
from tests.simulation.clients.asking import BACKOFF_S
from tests.simulation.clients.consumer import FETCH_RECORDS
from tests.simulation.clients.producer import Batch, Producer
from tests.simulation.world import Process


class SimulatedBatch:
    """What streams.runtime uses of broker.producer.Batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.records: list[Outgoing] = []
        self.times_ms: list[int] = []
        self.late = 0

    def append(self, out: Outgoing) -> bool:
        at = self.batch.now_ms if out.timestamp_ms is None else out.timestamp_ms
        if self.batch.append(key=out.key, value=out.value, timestamp=at, headers=list(out.headers)) is None:
            return False
        self.records.append(out)
        self.times_ms.append(at)
        return True


class SimulatedBatchProducer:
    """What streams.runtime uses of broker.producer.BatchProducer."""

    def __init__(self, broker: Broker, process: Process, **config: Any) -> None:
        self._producer = Producer(broker, process, enable_idempotence=True)
        self.start, self.stop, self.partitions_for = self._producer.start, self._producer.stop, self._producer.partitions_for

    def leader(self, partition: TopicPartition) -> int:
        return 0

    def batch(self) -> SimulatedBatch:
        return SimulatedBatch(self._producer.create_batch())

    def trouble(self, partitions: Any) -> str:
        return "the broker does not answer"

    async def send(self, leader: int, batches: Sequence[tuple[TopicPartition, SimulatedBatch]]) -> list[int]:
        sent = []
        for (topic, partition), batch in batches:
            batch.batch.close()
            future = await self._producer.send_batch(batch.batch, topic, partition=partition)
            future.add_done_callback(_retrieved)
            sent.append(future)
        return [(await future).offset for future in sent]


class SimulatedFetching:
    """broker.fetching.Fetching with one request for each partition. What members make of the answers is the real Fetches' own."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker, self._process = broker, process
        self.arrived = Arrived()
        self._readings: dict[TopicPartition, Reading] = {}
        self._asking: dict[TopicPartition, int] = {}
        """The position of the last request on its way."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self._readings.clear()

    def read(self, partition: TopicPartition, reading: Reading) -> None:
        self._readings[partition] = reading
        self.wake(partition)

    def forget(self, partition: TopicPartition, reading: Reading) -> None:
        if self._readings.get(partition) is reading:
            del self._readings[partition]

    async def asked(self, partitions: Any) -> None:
        """A request is on its way as soon as one is wanted."""

    def begin(self, partition: TopicPartition, out: Outgoing) -> bool:
        reading = self._readings.get(partition)
        return reading is not None and reading.begin(partition, out)

    def offer(self, partition: TopicPartition, offset: int, batch: Any) -> None:
        reading = self._readings.get(partition)
        if reading is not None:
            reading.offer(partition, offset, batch)
            self.wake(partition)

    def wake(self, partition: TopicPartition) -> None:
        reading = self._readings.get(partition)
        position = reading.wanted(partition) if reading is not None else None
        if position is None or self._asking.get(partition) == position:
            return
        self._asking[partition] = position
        limit = 1 + int(self._broker.world.random.random() * FETCH_RECORDS)
        asked = self._broker.ask(
            self._process,
            "fetch",
            lambda answer: self._broker.fetch(partition, position, committed=True, limit=limit, answer=answer),
        )
        asked.add_done_callback(lambda future: self._answered(partition, position, future))

    def _answered(self, partition: TopicPartition, position: int, future: asyncio.Future[Any]) -> None:
        if self._asking.get(partition) == position:
            del self._asking[partition]
        error = future.exception()
        if isinstance(error, Lost):
            self._process.call_later(BACKOFF_S, self.wake, partition)
            return
        reading = self._readings.get(partition)
        if reading is None:
            return
        try:
            reading.take(_fetched(partition, future), position)
        except kafka_errors.KafkaError as fault:
            reading.fail(fault)
        else:
            self.wake(partition)


def _fetched(partition: TopicPartition, future: asyncio.Future[Any]) -> Fetched:
    error = future.exception()
    if error is not None:
        if not isinstance(error, kafka_errors.BrokerResponseError):
            raise error
        return Fetched(partition, error.errno, -1, [], b"")
    entries, following, end = future.result()
    return Fetched(partition, 0, end, [], cast("bytes", (entries, following)))


def records_of(fetched: Fetched, position: int) -> tuple[list[Record], int, int]:
    """broker.fetches._records for what the in-memory broker answers."""
    entries, following = cast("tuple[list[Entry], int]", fetched.records)
    topic, partition = fetched.partition
    records = [
        Record(topic, partition, each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in entries
    ]
    return records, following, len(records)


def _retrieved(future: Any) -> None:
    if not future.cancelled():
        future.exception()
