"""An idempotent producer of whole batches: one batch of a partition on its way at a time, sent again until it is durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.runtime.broker.requests import Produced, ProduceRequest
from streams.runtime.model import Outgoing

MAGIC = 2
BACKOFF_S = 0.1
REQUEST_TIMEOUT_MS = 40_000
_SEQUENCES = 1 << 31
_WRITTEN_BEFORE = kafka_errors.DuplicateSequenceNumber.errno


class Batch:
    """Records of one partition that travel together."""

    __slots__ = ("_builder", "_built", "late", "records", "times_ms")

    def __init__(self, size: int) -> None:
        self._builder: Any = DefaultRecordBatchBuilder(MAGIC, 0, 0, -1, -1, 0, size)
        self._built: bytes | None = None
        self.records: list[Outgoing] = []
        self.times_ms: list[int] = []
        """Of the records, in their order."""
        self.late = 0
        """How many of them nobody in this process has begun to work on."""

    def append(self, out: Outgoing) -> bool:
        """False when it is full. The first record always fits."""
        at = out.timestamp_ms
        if at is None:
            at = time.time_ns() // 1_000_000
        if self._builder.append(len(self.records), at, out.key, out.value, list(out.headers)) is None:
            return False
        self.records.append(out)
        self.times_ms.append(at)
        return True

    def seal(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """The batch as it travels, the same however often: its sequence is how the broker knows it again."""
        if self._built is None:
            self._builder.set_producer_state(producer_id, epoch, sequence)
            self._built = bytes(self._builder.build())
        return self._built


class BatchProducer:
    """Whoever sends keeps the order: a partition's next batch is sent when `send` has returned for the one before."""

    def __init__(self, *, bootstrap_servers: str, client_id: str, batch_bytes: int) -> None:
        self._client: Any = AIOKafkaClient(
            bootstrap_servers=bootstrap_servers, client_id=client_id, request_timeout_ms=REQUEST_TIMEOUT_MS
        )
        self._batch_bytes = batch_bytes
        self._id, self._epoch = -1, -1
        self._sequences: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Raises KafkaError when no broker answers."""
        await self._client.bootstrap()
        while True:
            request = InitProducerIdRequest(None, REQUEST_TIMEOUT_MS)
            response = await self._client.send(self._client.get_random_node(), request)
            error = kafka_errors.for_code(response.error_code)
            if error is kafka_errors.NoError:
                break
            if not error.retriable and error is not kafka_errors.CoordinatorNotAvailableError:
                raise error(f"no producer id was given ({error.__name__})")
            await asyncio.sleep(BACKOFF_S)
        self._id, self._epoch = response.producer_id, response.producer_epoch

    async def stop(self) -> None:
        await self._client.close()

    async def partitions_for(self, topic: str) -> set[int]:
        """Raises KafkaError when there is no such topic."""
        found: set[int] = await self._client._wait_on_metadata(topic)
        return found

    def leader(self, partition: TopicPartition) -> int:
        """The broker that has it; -1 while nobody knows."""
        found: int | None = self._client.cluster.leader_for_partition(partition)
        return -1 if found is None else found

    def batch(self) -> Batch:
        return Batch(self._batch_bytes)

    async def send(self, leader: int, batches: Sequence[tuple[TopicPartition, Batch]]) -> list[int]:
        """Returns the offset of each batch's first record once all of them are durable, however long that takes.

        Raises KafkaError for what no repetition will mend. A broker that is gone, or no longer the leader, is waited for.
        """
        offsets: dict[TopicPartition, int] = {}
        sealed = [(partition, self._sealed(partition, batch)) for partition, batch in batches]
        while True:
            for produced in await self._once(leader, sealed):
                error = kafka_errors.for_code(produced.error)
                if error is kafka_errors.NoError or produced.error == _WRITTEN_BEFORE:
                    offsets[produced.partition] = produced.offset
                elif not error.retriable:
                    raise error(f"{produced.partition.topic}-{produced.partition.partition} refused records: {error.__name__}")
            sealed = [(partition, data) for partition, data in sealed if partition not in offsets]
            if not sealed:
                return [offsets[partition] for partition, _ in batches]
            await asyncio.sleep(BACKOFF_S)
            await self._client.force_metadata_update()
            leader = self.leader(sealed[0][0])

    async def _once(self, leader: int, sealed: Sequence[tuple[TopicPartition, bytes]]) -> Sequence[Produced]:
        """What the broker says of those batches it leads; of the others nothing, so that they are sent again."""
        mine = [(partition, data) for partition, data in sealed if self.leader(partition) == leader]
        if leader < 0 or not mine:
            return ()
        try:
            answer: Sequence[Produced] = await self._client.send(leader, ProduceRequest(mine, timeout_ms=REQUEST_TIMEOUT_MS))
        except kafka_errors.KafkaError as error:
            if not error.retriable:
                raise
            return ()
        return answer

    def _sealed(self, partition: TopicPartition, batch: Batch) -> bytes:
        sequence = self._sequences.get(partition, 0)
        self._sequences[partition] = (sequence + len(batch.records)) % _SEQUENCES
        return batch.seal(self._id, self._epoch, sequence)
