"""streams.runtime.broker on the in-memory broker: batches of an idempotent producer, and what has arrived for a member."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from streams.runtime.model import Outgoing
from tests.simulation.broker.broker import Broker
from tests.simulation.clients.producer import Batch, Producer
from tests.simulation.world import Process


class SimulatedBatch:
    """What streams.runtime uses of broker.producer.Batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.records: list[Any] = []

    def append(self, out: Outgoing) -> bool:
        headers = list(out.headers)
        if self.batch.append(key=out.key, value=out.value, timestamp=out.timestamp_ms, headers=headers) is None:
            return False
        self.records.append(out)
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

    async def send(self, leader: int, batches: Sequence[tuple[TopicPartition, SimulatedBatch]]) -> list[int]:
        sent = []
        for (topic, partition), batch in batches:
            batch.batch.close()
            future = await self._producer.send_batch(batch.batch, topic, partition=partition)
            future.add_done_callback(_retrieved)
            sent.append(future)
        return [(await future).offset for future in sent]


class SimulatedFetches:
    """What streams.runtime uses of broker.fetches.Fetches."""

    def __init__(self, consumer: Any, fetching: Any) -> None:
        self._consumer = consumer
        self.pause, self.resume, self.seek, self.end = consumer.pause, consumer.resume, consumer.seek, consumer.highwater

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assigned(self, partitions: Collection[TopicPartition]) -> None: ...

    async def poll(self, timeout_s: float, max_records: int | None = None) -> Mapping[TopicPartition, Sequence[Any]]:
        found: dict[TopicPartition, list[Any]] = await self._consumer.getmany(
            timeout_ms=int(timeout_s * 1000), max_records=max_records
        )
        return found


class NoFetching:
    """Members ask for themselves here."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def _retrieved(future: Any) -> None:
    if not future.cancelled():
        future.exception()
