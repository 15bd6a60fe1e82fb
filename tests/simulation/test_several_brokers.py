"""What the simulated brokers do, and whom the real client, fetching and producer find on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.runtime.broker import client
from streams.runtime.broker.fetching import Fetching
from streams.runtime.broker.producer import BatchProducer
from streams.runtime.model import Outgoing
from tests.simulation.broker.broker import Broker
from tests.simulation.broker.cluster import Brokers
from tests.simulation.clients.connection import bootstrap_of
from tests.simulation.clients.patching import AIOKAFKAS, simulated
from tests.simulation.world import World

DETECT_S, LAG_S = 3.0, 0.5
PARTITIONS = [TopicPartition("events", number) for number in range(6)]


class Wanting:
    """A member that wants all of its partitions from their beginning, for ever."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.positions = dict.fromkeys(PARTITIONS, 0)

    def wanted(self, partition: TopicPartition) -> int | None:
        return self.positions[partition]

    def take(self, fetched: Any, position: int) -> bool:
        if not fetched.records:
            return False
        entries, self.positions[fetched.partition] = fetched.records
        self.values += [entry.value for entry in entries]
        return True

    def offer(self, partition: TopicPartition, offset: int, batch: Any) -> bool:
        return False

    def begin(self, partition: TopicPartition, out: Outgoing) -> bool:
        return False

    def fail(self, error: Exception) -> None:
        raise error


def play(work: Callable[[Brokers, Any], Awaitable[None]]) -> None:
    """One process with a client's parts on three brokers, in virtual time."""
    world = World("several brokers")
    broker = Broker(world)
    brokers = broker.brokers = Brokers(world, 3, detect_s=DETECT_S, lag_s=LAG_S)
    broker.create("events", len(PARTITIONS))

    async def main() -> None:
        where = bootstrap_of(brokers)
        producer = BatchProducer(bootstrap_servers=where, client_id="test", batch_bytes=10_000)
        fetching = Fetching(where)
        await producer.start()
        await fetching.start()
        await work(brokers, (producer, fetching))
        await fetching.stop()
        await producer.stop()

    with simulated():
        task = world.start(world.process("client"), main())
        try:
            assert world.run(task.done, deadline=300.0), "it waits for ever"
            task.result()
        finally:
            world.close()


async def write(producer: BatchProducer, partition: TopicPartition, value: bytes) -> float:
    """Seconds until it is durable."""
    began = asyncio.get_running_loop().time()
    await producer.partitions_for(partition.topic)
    batch = producer.batch()
    assert batch.append(Outgoing(partition.topic, b"k", value))
    await producer.send(producer.leader(partition), [(partition, batch)])
    return asyncio.get_running_loop().time() - began


async def until(done: Callable[[], bool]) -> float:
    began = asyncio.get_running_loop().time()
    while not done():
        await asyncio.sleep(0.05)
    return asyncio.get_running_loop().time() - began


def test_what_was_written_to_every_leader_is_read_from_every_leader() -> None:
    async def work(brokers: Brokers, clients: Any) -> None:
        producer, fetching = clients
        reading = Wanting()
        for partition in PARTITIONS:
            fetching.read(partition, reading)
            await write(producer, partition, bytes([partition.partition]))
        assert len({brokers.leader(partition) for partition in PARTITIONS}) > 1
        await until(lambda: sorted(reading.values) == [bytes([number]) for number in range(len(PARTITIONS))])

    play(work)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_another_leads_once_a_silent_broker_is_missed_and_nothing_is_written_before(fault: str) -> None:
    """Every replica that counts as in sync has to have a record, so the partitions of the others stand still as well."""

    async def work(brokers: Brokers, clients: Any) -> None:
        producer, fetching = clients
        reading = Wanting()
        for partition in PARTITIONS:
            fetching.read(partition, reading)
        lost = brokers.leader(PARTITIONS[0])
        other = next(partition for partition in PARTITIONS if brokers.leader(partition) != lost)
        getattr(brokers, fault)(lost, 60.0)
        waited = await asyncio.gather(write(producer, PARTITIONS[0], b"led by it"), write(producer, other, b"led by another"))
        assert min(waited) > 0.8 * DETECT_S
        assert max(waited) < DETECT_S + LAG_S + 5.0
        assert brokers.leader(PARTITIONS[0]) != lost
        assert await until(lambda: set(reading.values) == {b"led by it", b"led by another"}) < 2.0

    play(work)


def test_a_leader_that_has_not_heard_of_it_refuses_and_so_does_the_old_one() -> None:
    async def work(brokers: Brokers, clients: Any) -> None:
        before = {partition: brokers.leader(partition) for partition in PARTITIONS}
        brokers.move()
        assert all(brokers.leader(partition) != leader for partition, leader in before.items())
        assert not any(brokers.serves(node, partition) for node in brokers.nodes.values() for partition in PARTITIONS)
        await asyncio.sleep(2 * LAG_S)
        assert all(brokers.serves(brokers.nodes[brokers.leader(partition)], partition) for partition in PARTITIONS)

    play(work)


def test_nothing_of_a_schedule_is_left_in_aiokafka() -> None:
    """Inside, the runtime makes aiokafka's clients those of the simulation; whoever comes after would get them too."""
    before = [module.AIOKafkaClient for module in AIOKAFKAS]
    with simulated():
        client.use_patient_clients()
        assert all(module.AIOKafkaClient is not was for module, was in zip(AIOKAFKAS, before, strict=True))
    assert [module.AIOKafkaClient for module in AIOKAFKAS] == before
