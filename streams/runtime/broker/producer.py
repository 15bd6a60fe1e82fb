"""An idempotent producer of whole batches: one batch of a partition on its way at a time, sent again until it is durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.runtime.broker.answers import may_pass
from streams.runtime.broker.client import PatientClient
from streams.runtime.broker.requests import Produced, ProduceRequest
from streams.runtime.model import Outgoing
from streams.runtime.patience import BACKOFF_S, BROKER_S, PRODUCE_S

MAGIC = 2
UNKNOWN_S = 5.0
"""How long brokers may not know a topic that was just created."""
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

    def __init__(self, *, bootstrap_servers: str, client_id: str, batch_bytes: int, patience_s: float = BROKER_S) -> None:
        """`patience_s`: for `start` and `partitions_for`; `send` has none."""
        self._client: Any = PatientClient(bootstrap_servers=bootstrap_servers, client_id=client_id)
        self._batch_bytes = batch_bytes
        self._patience_s = patience_s
        self._id, self._epoch = -1, -1
        self._sequences: dict[TopicPartition, int] = {}
        self._trouble: dict[TopicPartition, str] = {}
        """Why what waits for a partition was not taken at the last attempt."""

    async def start(self) -> None:
        """Raises KafkaError when no broker answers, or none gives a producer id within the patience."""
        await self._client.bootstrap()
        trouble: Exception | None = None
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    try:
                        self._id, self._epoch = await self._ask_for_id()
                        return
                    except kafka_errors.KafkaError as error:
                        if not may_pass(type(error)):
                            raise
                        trouble = error
                    await asyncio.sleep(BACKOFF_S)
        except TimeoutError:
            raise kafka_errors.KafkaConnectionError(
                f"no producer id was given for {self._patience_s:g} s ({trouble!r}): has the cluster a controller?"
            ) from trouble

    async def _ask_for_id(self) -> tuple[int, int]:
        request = InitProducerIdRequest(None, int(PRODUCE_S * 1000))
        response = await self._client.ask_any(request)
        if response is None:
            raise kafka_errors.NodeNotReadyError(f"no broker answers: {self._client.silence()}")
        error = kafka_errors.for_code(response.error_code)
        if error is not kafka_errors.NoError:
            raise error("no producer id was given")
        return response.producer_id, response.producer_epoch

    async def stop(self) -> None:
        await self._client.close()

    async def partitions_for(self, topic: str) -> set[int]:
        """Raises UnknownTopicOrPartitionError when brokers say that it is not there, KafkaConnectionError when none answers."""
        clock = asyncio.get_running_loop()
        asked_at = clock.time()
        unknown_since: float | None = None
        self._client.add_topic(topic)
        while not (found := self._client.cluster.partitions_for_topic(topic)):
            answered = await self._client.force_metadata_update()
            if topic in self._client.cluster.unauthorized_topics:
                raise kafka_errors.TopicAuthorizationFailedError(topic)
            now = clock.time()
            if self._client.cluster.partitions_for_topic(topic) or not answered:
                unknown_since = None
            elif unknown_since is None:
                unknown_since = now
            elif now - unknown_since > min(UNKNOWN_S, self._patience_s):
                raise kafka_errors.UnknownTopicOrPartitionError(topic)
            if not answered and now - asked_at > self._patience_s:
                raise kafka_errors.KafkaConnectionError(self._client.silence())
            await asyncio.sleep(BACKOFF_S)
        return set(found)

    def leader(self, partition: TopicPartition) -> int:
        """The broker that has it; -1 while nobody knows."""
        found: int | None = self._client.cluster.leader_for_partition(partition)
        return -1 if found is None else found

    def batch(self) -> Batch:
        return Batch(self._batch_bytes)

    async def send(self, leader: int, batches: Sequence[tuple[TopicPartition, Batch]]) -> list[int]:
        """Returns the offset of each batch's first record once all of them are durable, however long that takes.

        Raises KafkaError for what no repetition will mend. A broker that is gone, or no longer the `leader`, is waited for.
        """
        offsets: dict[TopicPartition, int] = {}
        sealed = [(partition, self._sealed(partition, batch)) for partition, batch in batches]
        while True:
            for produced in await self._to_leaders(leader, sealed):
                error = kafka_errors.for_code(produced.error)
                if error is kafka_errors.NoError or produced.error == _WRITTEN_BEFORE:
                    offsets[produced.partition] = produced.offset
                elif not may_pass(error):
                    raise error(f"{produced.partition.topic}-{produced.partition.partition} refused records: {error.__name__}")
                else:
                    self._trouble[produced.partition] = f"its leader says {error.__name__}"
            sealed = [(partition, data) for partition, data in sealed if partition not in offsets]
            if not sealed:
                if self._trouble:
                    for partition in offsets:
                        self._trouble.pop(partition, None)
                return [offsets[partition] for partition, _ in batches]
            await asyncio.sleep(BACKOFF_S)
            await self._client.force_metadata_update()

    def trouble(self, partitions: Iterable[TopicPartition]) -> str:
        """For people: why these are not durable yet."""
        said = dict.fromkeys(self._trouble.get(each) or self._client.state_of(self.leader(each)) for each in partitions)
        return "; ".join(said)

    async def _to_leaders(self, first: int, sealed: Sequence[tuple[TopicPartition, bytes]]) -> Sequence[Produced]:
        """What the leaders say, each of its own; of partitions without a leader nothing, so that they are sent again."""
        mine = [each for each in sealed if self.leader(each[0]) == first] if first >= 0 else []
        if len(mine) == len(sealed):
            return await self._once(first, mine)
        by_leader: dict[int, list[tuple[TopicPartition, bytes]]] = {}
        for partition, data in sealed:
            leader = self.leader(partition)
            if leader >= 0:
                by_leader.setdefault(leader, []).append((partition, data))
            else:
                self._trouble[partition] = "no leader is known"
        answers = await asyncio.gather(*(self._once(leader, found) for leader, found in by_leader.items()))
        return [produced for answer in answers for produced in answer]

    async def _once(self, leader: int, sealed: Sequence[tuple[TopicPartition, bytes]]) -> Sequence[Produced]:
        try:
            answer: Sequence[Produced] = await self._client.send(leader, ProduceRequest(sealed, timeout_ms=int(PRODUCE_S * 1000)))
        except kafka_errors.KafkaError as error:
            if not error.retriable:
                raise
            self._trouble |= dict.fromkeys((partition for partition, _ in sealed), f"broker {leader}: {error!r}")
            return ()
        return answer

    def _sealed(self, partition: TopicPartition, batch: Batch) -> bytes:
        sequence = self._sequences.get(partition, 0)
        self._sequences[partition] = (sequence + len(batch.records)) % _SEQUENCES
        return batch.seal(self._id, self._epoch, sequence)
