"""The wire of a real broker: aiokafka's own requests, sent by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.simulation.conformance.memory import drain
from tests.simulation.conformance.wire import Joined, Pairs

PATIENCE_S = 60.0
COMPACTED_AT_ONCE = {
    "cleanup.policy": "compact,delete",
    "segment.ms": "1",
    "min.cleanable.dirty.ratio": "0.0001",
    "max.compaction.lag.ms": "1",
}


@asynccontextmanager
async def real_wire(bootstrap: str, prefix: str) -> AsyncIterator[RealWire]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await admin.create_topics([NewTopic(prefix, 2, 1)])
        await client.bootstrap()
        await client._wait_on_metadata(prefix)
        wire = RealWire(bootstrap, prefix, admin, client)
        yield wire
        await wire.close()
    finally:
        await client.close()
        await admin.close()


class RealWire:
    compacts = True

    def __init__(self, bootstrap: str, topic: str, admin: Any, client: Any) -> None:
        self._bootstrap, self._topic, self._admin, self._client = bootstrap, topic, admin, client
        self._coordinators: dict[tuple[int, str], int] = {}
        self._of_members: dict[str, Any] = {}
        """A broker answers one connection's requests in order, so a JoinGroup that waits would hold up all others."""

    async def close(self) -> None:
        for client in self._of_members.values():
            await client.close()

    def group(self, name: str = "group") -> str:
        return f"{self._topic}-{name}"

    def transactional_id(self, name: str = "id") -> str:
        return f"{self._topic}-{name}"

    async def _again(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """Until the broker is done with what came before."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await attempt()
                except (
                    kafka_errors.ConcurrentTransactions,
                    kafka_errors.GroupLoadInProgressError,
                    kafka_errors.GroupCoordinatorNotAvailableError,
                    kafka_errors.NotCoordinatorForGroupError,
                    kafka_errors.NotLeaderForPartitionError,
                    kafka_errors.UnknownTopicOrPartitionError,
                ):
                    self._coordinators.clear()
                    await asyncio.sleep(0.02)

    async def _send(self, kind: int, key: str, request: Any, member: str = "") -> Any:
        client = self._of_members.get(member, self._client)
        node = self._coordinators.get((kind, key))
        if node is None:
            node = self._coordinators[kind, key] = await client.coordinator_lookup(kind, key)
        return await client.send(node, request, group=ConnectionGroup.COORDINATION)

    async def _transactional(self, transactional_id: str, request: Any) -> Any:
        async def attempt() -> Any:
            answer = await self._send(CoordinationType.TRANSACTION, transactional_id, request)
            _check(_codes(answer))
            return answer

        return await self._again(attempt)

    async def init(self, transactional_id: str | None = None) -> tuple[int, int]:
        request = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=60_000)
        if transactional_id is not None:
            answer = await self._transactional(transactional_id, request)
        else:

            async def attempt() -> Any:
                found = await self._client.send(self._client.get_random_node(), request)
                _check(_codes(found))
                return found

            answer = await self._again(attempt)
        return answer.producer_id, answer.producer_epoch

    async def add_partitions(self, transactional_id: str, pid: int, epoch: int, partitions: Sequence[int] = (0,)) -> None:
        topics = [(self._topic, list(partitions))]
        await self._transactional(transactional_id, AddPartitionsToTxnRequest(transactional_id, pid, epoch, topics))

    async def add_offsets(self, transactional_id: str, pid: int, epoch: int, group: str) -> None:
        await self._transactional(transactional_id, AddOffsetsToTxnRequest(transactional_id, pid, epoch, group))

    async def commit_offset_in_transaction(self, transactional_id: str, pid: int, epoch: int, group: str, offset: int) -> None:
        request = TxnOffsetCommitRequest(transactional_id, group, pid, epoch, [(self._topic, [(0, offset, "")])])

        async def attempt() -> None:
            _check(_codes(await self._send(CoordinationType.GROUP, group, request)))

        await self._again(attempt)

    async def end(self, transactional_id: str, pid: int, epoch: int, *, commit: bool) -> None:
        await self._transactional(transactional_id, EndTxnRequest(transactional_id, pid, epoch, commit))

    async def produce(
        self, pid: int, epoch: int, sequence: int, pairs: Pairs, *, transactional_id: str | None = None, partition: int = 0
    ) -> int:
        builder = DefaultRecordBatchBuilder(2, 0, int(transactional_id is not None), pid, epoch, sequence, batch_size=1 << 20)
        for at, (key, value) in enumerate(pairs):
            builder.append(at, None, key, value, [])
        batch = bytes(builder.build())
        request = ProduceRequest(transactional_id, -1, 10_000, [(self._topic, [(partition, batch)])])

        async def attempt() -> int:
            leader = self._client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
            answer = await self._client.send(leader, request)
            (_, [found]) = answer.topics[0]
            _check([found[1]])
            return int(found[2])

        offset: int = await self._again(attempt)
        return offset

    async def read(self, *, committed: bool, start: int = 0, partition: int = 0) -> tuple[list[tuple[int, bytes | None]], int]:
        return await drain(self._consumer(committed=committed), TopicPartition(self._topic, partition), start)

    async def bounds(self, *, committed: bool) -> tuple[int, int]:
        consumer, tp = self._consumer(committed=committed), TopicPartition(self._topic, 0)
        await consumer.start()
        try:
            return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        finally:
            await consumer.stop()

    def _consumer(self, *, committed: bool) -> Any:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed" if committed else "read_uncommitted",
            fetch_max_wait_ms=50,
        )

    async def committed(self, group: str) -> int | None:
        async def attempt() -> Any:
            found = await self._send(CoordinationType.GROUP, group, OffsetFetchRequest(group, [(self._topic, [0])]))
            _check([found.error_code] if hasattr(found, "error_code") else [])
            _check([partition[3] for _, partitions in found.topics for partition in partitions])
            if not found.topics or not found.topics[0][1]:
                raise kafka_errors.GroupCoordinatorNotAvailableError
            return found

        answer = await self._again(attempt)
        offset = int(answer.topics[0][1][0][1])
        return None if offset < 0 else offset

    async def settled(self, transactional_id: str) -> None:
        """Only who begins again is told that the markers are missing: take the id over, as a new owner does."""
        await self.init(transactional_id)

    async def join(self, group: str, member: str = "", instance: str | None = None) -> Joined:
        metadata = ConsumerProtocolMemberMetadata(0, [self._topic], b"").encode()
        place = member or f"new {len(self._of_members)}"
        if not member:
            self._of_members[place] = AIOKafkaClient(bootstrap_servers=self._bootstrap)
            await self._of_members[place].bootstrap()
        while True:
            request = JoinGroupRequest(group, 10_000, 10_000, member, instance, "consumer", [("range", metadata)])
            answer = await self._again(partial(self._join, group, request, place))
            if answer.error_code == kafka_errors.MemberIdRequired.errno:
                member = answer.member_id
                continue
            _check([answer.error_code])
            self._of_members[answer.member_id] = self._of_members.pop(place)
            members = {each[0]: None for each in answer.members}
            return Joined(answer.member_id, answer.generation_id, answer.leader_id == answer.member_id, members)

    async def _join(self, group: str, request: Any, place: str) -> Any:
        answer = await self._send(CoordinationType.GROUP, group, request, place)
        if answer.error_code != kafka_errors.MemberIdRequired.errno:
            _check([answer.error_code])
        return answer

    async def sync(self, group: str, joined: Joined) -> tuple[int, ...]:
        shares: dict[str, list[int]] = {member: [] for member in joined.members}
        if joined.leader and shares:
            for number in range(2):
                shares[sorted(shares)[number % len(shares)]].append(number)
        assignment = [
            (member, ConsumerProtocolMemberAssignment(0, [(self._topic, numbers)], b"").encode())
            for member, numbers in shares.items()
        ]
        request = SyncGroupRequest(group, joined.generation, joined.member, None, assignment)
        answer = await self._send(CoordinationType.GROUP, group, request, joined.member)
        _check([answer.error_code])
        found = ConsumerProtocolMemberAssignment.decode(answer.member_assignment)
        return tuple(number for _, numbers in found.assignment for number in numbers)

    async def heartbeat(self, group: str, joined: Joined) -> None:
        request = HeartbeatRequest(group, joined.generation, joined.member)
        answer = await self._send(CoordinationType.GROUP, group, request, joined.member)
        _check([answer.error_code])

    async def leave(self, group: str, joined: Joined) -> None:
        answer = await self._send(CoordinationType.GROUP, group, LeaveGroupRequest(group, joined.member), joined.member)
        _check([answer.error_code])

    async def commit(self, group: str, member: str, generation: int, offset: int) -> None:
        request = OffsetCommitRequest(group, generation, member, -1, [(self._topic, [(0, offset, "")])])
        _check(_codes(await self._send(CoordinationType.GROUP, group, request)))

    async def compact(self) -> None:
        """The cleaner looks every 15 s at what is not in the active segment. Until now it had to leave the topic alone."""
        [answer] = await self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self._topic, COMPACTED_AT_ONCE)])
        _check([code for code, *_ in answer.resources])
        pid, epoch = await self.init()
        before = len((await self.read(committed=False))[0])
        await self.produce(pid, epoch, 0, [(b"roll", b"the segment")])
        async with asyncio.timeout(PATIENCE_S):
            while len((await self.read(committed=False))[0]) > before:
                await asyncio.sleep(0.2)

    async def delete_before(self, offset: int) -> None:
        await self._admin.delete_records({TopicPartition(self._topic, 0): RecordsToDelete(before_offset=offset)})


def _codes(answer: Any) -> list[int]:
    """The error codes of an answer, wherever they stand in it."""
    if hasattr(answer, "error_code"):
        return [answer.error_code]
    topics = answer.errors if hasattr(answer, "errors") else answer.topics
    return [partition[1] for _, partitions in topics for partition in partitions]


def _check(codes: Sequence[int]) -> None:
    for code in codes:
        if code:
            raise kafka_errors.for_code(code)()
