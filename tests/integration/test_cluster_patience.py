"""Three brokers: members start whoever is away, and outlive one that freezes; every partition is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition

from connectors.kafka.admin import create_topics
from schemas import topics
from streams.runtime import Outgoing, Publisher, Record, Runtime, RuntimeSettings, Step
from tests.integration import runtime_world
from tests.integration.runtime_world import TextCodec, at_work, dead_letter_to, until
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("system")]
PARTITIONS = 6
SOURCE, CHANGELOG, OUT = topics.CONVERSATION_EVENTS, topics.CONVERSATION_STATE, topics.CUSTOMER_RESPONSES


class Counting:
    """Counts what it is given, and how often each value was decided upon."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[int, bytes]] = Counter()

    async def handle(self, record: Record, step: Step[str]) -> None:
        self.seen[record.partition, record.value or b""] += 1
        key = (record.key or b"").decode()
        step.put(key, (step.get(key) or "") + (record.value or b"").decode())
        step.publish(Outgoing(OUT, record.key, record.value))


def member(cluster: Cluster, group: str, processor: Counting) -> Runtime[str]:
    settings = RuntimeSettings(cluster.bootstrap, group, (SOURCE,), {SOURCE: CHANGELOG})
    return Runtime(settings, processor, TextCodec(), dead_letter_to(topics.DEAD_LETTERS))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers that go and come on a busy machine take their time."""
    monkeypatch.setattr(runtime_world, "PATIENCE_S", 120.0)


@asynccontextmanager
async def away(cluster: Cluster, number: int, how: str) -> AsyncIterator[None]:
    if how == "killed":
        await cluster.kill(number)
    if how == "frozen":
        cluster.freeze(number)
    try:
        yield
    finally:
        if how == "killed":
            await cluster.start(number)
        if how == "frozen":
            cluster.thaw(number)
        await cluster.settled()


async def test_every_partition_is_read_whichever_broker_is_away_when_a_member_starts(cluster: Cluster) -> None:
    """With all three brokers there, two or four of six partitions stayed unread in half of all starts.

    The same group each time: names that a cluster does not know yet it cannot give ids to while its controller is frozen.
    """
    await create_topics(cluster.bootstrap, partitions=PARTITIONS)
    await cluster.settled()
    for round_, how in enumerate(("there", "there", "there", "killed", "frozen")):
        processor = Counting()
        async with away(cluster, 1 + round_ % 3, how), at_work(member(cluster, "group", processor)):
            async with Publisher(cluster.bootstrap) as publisher:
                value = f"{round_}".encode()
                await publisher.send(Outgoing(SOURCE, b"k", value, partition=number) for number in range(PARTITIONS))
            wanted = {(number, value) for number in range(PARTITIONS)}
            await until(lambda wanted=wanted, seen=processor.seen: wanted <= seen.keys())  # type: ignore[misc]


async def test_a_frozen_leader_ends_no_member_and_what_was_sent_meanwhile_is_counted_once(cluster: Cluster) -> None:
    """Frozen until the others have moved what it led; its requests are owed all the while."""
    await create_topics(cluster.bootstrap, partitions=PARTITIONS)
    await cluster.settled()
    processor = Counting()
    runtime = member(cluster, "group", processor)
    async with at_work(runtime) as running, Publisher(cluster.bootstrap) as publisher:
        sent: list[tuple[int, bytes]] = []

        async def send(count: int) -> None:
            for _ in range(count):
                number, value = len(sent) % PARTITIONS, b"%d," % len(sent)
                sent.append((number, value))
                await publisher.send_one(Outgoing(SOURCE, b"key-%d" % number, value, partition=number))

        await send(2 * PARTITIONS)
        victim = await cluster.leader(SOURCE, 0)
        cluster.freeze(victim)
        try:
            await send(4 * PARTITIONS)
            await until(lambda: set(sent) <= processor.seen.keys())
        finally:
            cluster.thaw(victim)
        await cluster.settled()
        await send(2 * PARTITIONS)
        await until(lambda: set(sent) <= processor.seen.keys())
        assert not running.done()
        for number in range(PARTITIONS):
            store = runtime._owners[TopicPartition(SOURCE, number)].log.store
            whole = "".join(value.decode() for each, value in sent if each == number)
            await until(lambda store=store, number=number, whole=whole: store.get(f"key-{number}") == whole)  # type: ignore[misc]
