"""What is too large for a changelog, on a real broker: it costs its own record, and nobody a commit or a restart."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from streams.runtime import Record, StateTooLarge, Step
from tests.integration.runtime_world import World, a_world, at_work, until

pytestmark = pytest.mark.kafka

LARGE = 8 * 1024 * 1024


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


async def create(world: World, *, state_bytes: int = LARGE) -> None:
    await world.create(names=("out", "dead"))
    limits = {"in": LARGE, "state": state_bytes}
    made = [NewTopic(world.topic(name), 1, 1, topic_configs={"max.message.bytes": str(most)}) for name, most in limits.items()]
    await world.admin.create_topics(made)


class Keeping:
    """State of a key: all the values it has seen, or the last one; nothing is published."""

    def __init__(self, *, joined: bool = True) -> None:
        self.handled = 0
        self._joined = joined

    async def handle(self, record: Record, step: Step[str]) -> None:
        assert record.key is not None
        assert record.value is not None
        key, value = record.key.decode(), record.value.decode()
        step.put(key, (step.get(key) or "") + value if self._joined else value)
        self.handled += 1


async def sizes(world: World) -> dict[str, int]:
    return {key: len(state) for key, state in (await world.states()).items()}


async def test_twelve_messages_of_800_kb_to_one_key_cost_those_that_do_not_fit_and_nothing_else(world: World):
    """Beyond what a topic takes altogether: a commit that was refused once would be refused after every restart."""
    await create(world)
    await world.send(*(["m" * 800_000] * 12))
    await world.send("other", key="x")
    async with at_work(world.runtime(Keeping())):
        await world.until_committed({0: 13})
    async with at_work(world.runtime(Keeping())):
        await world.send("and on", key="k")
        await world.until_committed({0: 14})
    assert await sizes(world) == {"k": 7 * 800_000 + 6, "x": 5}
    assert [letter.split("|")[0] for letter in await world.values("dead")] == ["state_too_large"] * 5


async def test_a_journal_of_48_results_of_190_kb_ends_its_own_record_and_survives_a_restart(world: World):
    await create(world)
    held: list[int] = []

    class Acting(Keeping):
        async def handle(self, record: Record, step: Step[str]) -> None:
            journal = step.get("execution") or ""
            try:
                for _ in range(48):
                    journal += "r" * 190_000
                    await step.journal("execution", journal)
            except StateTooLarge:
                held.append(len(step.get("execution") or ""))
            step.put("done", "in words")

    await world.send("task")
    for position in (1, 2):
        async with at_work(world.runtime(Acting())):
            await world.until_committed({0: position})
        await world.send("task again")
    assert held == [33 * 190_000] * 2
    assert (await world.states())["done"] == "in words"


async def test_a_changelog_that_takes_less_than_the_bound_costs_what_it_refuses_and_keeps_the_rest(world: World):
    """Its max.message.bytes was lowered: together in one batch the states are too large, one is so alone."""
    await create(world, state_bytes=100_000)
    for number in range(40):
        await world.send("s" * 10_000, key=f"small-{number}")
    await world.send("l" * 150_000, key="large")
    await world.send("after", key="small-0")
    processor: Any = Keeping(joined=False)
    async with at_work(world.runtime(processor, commit_interval_s=1.0)):
        await until(lambda: processor.handled == 42)
        await world.until_committed({0: 42})
    [letter] = await world.values("dead")
    assert letter.startswith(
        "state_too_large|the state of 'large' that it led to is not kept, the one before stays: the changelog refuses it"
    )
    await world.send("fits", key="large")
    async with at_work(world.runtime(Keeping(joined=False))):
        await world.until_committed({0: 43})
    assert await sizes(world) == {"small-0": 5, **{f"small-{n}": 10_000 for n in range(1, 40)}, "large": 4}


async def peak_of_a_reader(world: World, position: int) -> int:
    """The most memory, in bytes, that a process of its own had which handled the topic up to there."""
    command = (sys.executable, "-m", "tests.integration.sizes_worker", world.bootstrap, world.topic("in"), world.topic("dead"))
    process = await asyncio.create_subprocess_exec(*command, str(position), stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(120):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return int(said)


MOST_BYTES = 400 << 20
"""128 MiB of records twice, while they are taken apart, and the process itself; see the guide to recovery."""


async def test_400_messages_of_800_kb_are_read_within_the_bound_of_the_process(world: World):
    await create(world)
    for _ in range(40):
        await world.send(*(["m" * 800_000] * 10))
    peak = await peak_of_a_reader(world, 400)
    assert peak < MOST_BYTES, f"{peak >> 20} MiB"


async def test_six_gzip_records_that_stand_for_gigabytes_are_dead_letters_and_memory_stays_within_its_bound(world: World):
    await create(world)
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap, compression_type="gzip", max_request_size=1 << 30)
    await producer.start()
    try:
        for _ in range(6):
            await producer.send_and_wait(world.topic("in"), bytes(450 << 20), partition=0)
    finally:
        await producer.stop()
    await world.send("and on")
    peak = await peak_of_a_reader(world, 7)
    assert peak < MOST_BYTES, f"{peak >> 20} MiB"
    letters = await world.values("dead")
    assert [letter.split("|")[0] for letter in letters] == ["batch_unreadable"] * 6
    assert "offsets 0 to 0" in letters[0]
