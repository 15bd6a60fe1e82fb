"""The wire of the in-memory broker, and the loop that drives a case on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import TopicPartition

from tests.simulation.broker.broker import Broker
from tests.simulation.clients.asking import ask, told
from tests.simulation.clients.consumer import Consumer
from tests.simulation.conformance.wire import Joined, Pairs, Wire
from tests.simulation.world import Process, World

TOPIC = "topic"


def run_in_memory(case: Callable[[Wire], Awaitable[None]]) -> None:
    world = World(case.__name__)
    broker = Broker(world)
    broker.create(TOPIC, 2, compacted=True)
    process = world.process("client")

    async def main() -> None:
        await case(MemoryWire(broker, process))

    task = world.start(process, main())
    try:
        assert world.run(task.done, deadline=600.0), "the case waits for ever"
        task.result()
    finally:
        world.close()


class MemoryWire:
    compacts = True

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker, self._process = broker, process

    def group(self, name: str = "group") -> str:
        return name

    def transactional_id(self, name: str = "id") -> str:
        return name

    async def _ask(self, what: Callable[..., Any], *args: Any) -> Any:
        return await ask(self._broker, self._process, "any", told(what, *args), backoff_s=0.01)

    async def init(self, transactional_id: str | None = None) -> tuple[int, int]:
        found: tuple[int, int] = await self._ask(self._broker.transactions.init, transactional_id)
        return found

    async def add_partitions(self, transactional_id: str, pid: int, epoch: int, partitions: Sequence[int] = (0,)) -> None:
        wanted = [TopicPartition(TOPIC, number) for number in partitions]
        await self._ask(self._broker.transactions.add_partitions, transactional_id, pid, epoch, wanted)

    async def add_offsets(self, transactional_id: str, pid: int, epoch: int, group: str) -> None:
        await self._ask(self._broker.transactions.add_offsets, transactional_id, pid, epoch, group)

    async def commit_offset_in_transaction(self, transactional_id: str, pid: int, epoch: int, group: str, offset: int) -> None:
        offsets = {TopicPartition(TOPIC, 0): offset}
        await self._ask(self._broker.commit_offset_in_transaction, transactional_id, pid, epoch, group, offsets)

    async def end(self, transactional_id: str, pid: int, epoch: int, *, commit: bool) -> None:
        await self._ask(lambda: self._broker.transactions.end(transactional_id, pid, epoch, commit=commit))

    async def produce(
        self, pid: int, epoch: int, sequence: int, pairs: Pairs, *, transactional_id: str | None = None, partition: int = 0
    ) -> int:
        tp = TopicPartition(TOPIC, partition)
        records = [(key, value, (), 0) for key, value in pairs]

        def request() -> int:
            answer = self._broker.produce(transactional_id, pid, epoch, [(tp, sequence, records)])[tp]
            if isinstance(answer, Exception):
                raise answer
            return answer

        found: int = await self._ask(request)
        return found

    async def read(self, *, committed: bool, start: int = 0, partition: int = 0) -> tuple[list[tuple[int, bytes | None]], int]:
        consumer = self._consumer(committed=committed)
        return await drain(consumer, TopicPartition(TOPIC, partition), start)

    async def bounds(self, *, committed: bool) -> tuple[int, int]:
        consumer, tp = self._consumer(committed=committed), TopicPartition(TOPIC, 0)
        return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]

    def _consumer(self, *, committed: bool) -> Consumer:
        level = "read_committed" if committed else "read_uncommitted"
        return Consumer(self._broker, self._process, isolation_level=level, auto_offset_reset="none")

    async def committed(self, group: str) -> int | None:
        found: int | None = await self._ask(self._broker.groups.committed, group, TopicPartition(TOPIC, 0))
        return found

    async def settled(self, transactional_id: str) -> None:
        while self._broker.transactions.state(transactional_id) in ("committing", "aborting"):
            await self._ask(lambda: None)

    async def join(self, group: str, member: str = "", instance: str | None = None) -> Joined:
        groups = self._broker.groups
        name = member or groups.new_member_id()

        def request(answer: Any) -> None:
            groups.join(group, name, not member, instance, (TOPIC,), 10_000, 10_000, 1_000, lambda error: None, answer)

        generation, leader = await self._broker.ask(self._process, "join", request)
        return Joined(name, generation, leader, {})

    async def sync(self, group: str, joined: Joined) -> tuple[int, ...]:
        groups = self._broker.groups
        partitions = await self._broker.ask(
            self._process, "sync", lambda answer: groups.sync(group, joined.member, joined.generation, answer)
        )
        return tuple(tp.partition for tp in partitions)

    async def heartbeat(self, group: str, joined: Joined) -> None:
        def request() -> None:
            error = self._broker.groups.heartbeat(group, joined.member, joined.generation)
            if error is not None:
                raise error

        await self._ask(request)

    async def leave(self, group: str, joined: Joined) -> None:
        await self._ask(self._broker.groups.leave, group, joined.member)

    async def commit(self, group: str, member: str, generation: int, offset: int) -> None:
        await self._ask(self._broker.groups.commit, group, member, generation, {TopicPartition(TOPIC, 0): offset})

    async def compact(self) -> None:
        self._broker.log(TopicPartition(TOPIC, 0)).compact()

    async def delete_before(self, offset: int) -> None:
        self._broker.log(TopicPartition(TOPIC, 0)).delete_before(offset)


async def drain(consumer: Any, tp: TopicPartition, start: int) -> tuple[list[tuple[int, bytes | None]], int]:
    """What a consumer of a given place gets up to the end it may see, and its position then."""
    await consumer.start()
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, start)
        found: list[tuple[int, bytes | None]] = []
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.offset, record.value) for record in records]
        return found, await consumer.position(tp)
    finally:
        await consumer.stop()
