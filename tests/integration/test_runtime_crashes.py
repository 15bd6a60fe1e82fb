"""Crash after crash, at random places: what is committed is always what a sequential run would have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from streams.runtime import Outgoing, Record, Step
from tests.integration.runtime_world import World, a_world, at_work, begin, crash

pytestmark = pytest.mark.kafka

RECORDS = 400
KEYS = 12


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        await world.create(partitions=2)
        yield world


class Counting:
    """State: the ordinals of a key's records. Some records journal first, so a repeat finds its own ordinal there already."""

    def __init__(self, world: World, dice: random.Random, *, journal: bool) -> None:
        self._out = world.topic("out")
        self._dice = dice
        self._journal = journal

    async def handle(self, record: Record, step: Step[str]) -> None:
        assert record.key is not None
        assert record.value is not None
        key, ordinal = record.key.decode(), record.value.decode()
        seen = (step.get(key) or "").split()
        if self._dice.random() < 0.3:
            await asyncio.sleep(self._dice.random() * 0.01)
        if ordinal not in seen:
            assert seen == [str(earlier) for earlier in range(int(ordinal))], "an earlier record of this key is missing"
            seen.append(ordinal)
            if self._journal and self._dice.random() < 0.2:
                await step.journal(key, " ".join(seen))
        step.put(key, " ".join(seen))
        step.publish(Outgoing(self._out, record.key, record.value))


@pytest.mark.parametrize(("concurrency", "journal"), [(1, False), (1, True), (8, False), (8, True)])
async def test_states_and_positions_agree_after_every_crash(world: World, concurrency: int, journal: bool):
    """Ten crashes, one to eighty milliseconds after the start; in the end each record is in its state once, in order."""
    dice = random.Random(concurrency + journal)
    ordinals = dict.fromkeys(range(KEYS), 0)
    outs = []
    for _ in range(RECORDS):
        key = dice.randrange(KEYS)
        outs.append(Outgoing(world.topic("in"), b"k%d" % key, b"%d" % ordinals[key], partition=key % 2))
        ordinals[key] += 1
    await world.publisher.send(outs)
    changes = {"concurrency": concurrency, "commit_interval_s": 0.005, "max_in_flight": 20, "max_attempts": 1}
    for _ in range(10):
        running = await begin(world.runtime(Counting(world, dice, journal=journal), **changes))
        await asyncio.sleep(0.001 + dice.random() * 0.08)
        assert not running.done()
        await crash(running)
        if not journal:
            assert await world.states() == await states_at(world, outs)
    async with at_work(world.runtime(Counting(world, dice, journal=journal), **changes)):
        ends = [sum(out.partition == number for out in outs) for number in range(2)]
        await world.until_committed(dict(enumerate(ends)))
    assert await world.values("dead") == []
    assert await world.states() == {f"k{key}": " ".join(map(str, range(count))) for key, count in ordinals.items() if count}
    assert set(await world.values("out")) == {(out.value or b"").decode() for out in outs}


async def states_at(world: World, outs: list[Outgoing]) -> dict[str, str]:
    """What a sequential run has at the committed positions."""
    states: dict[str, str] = {}
    for partition, position in (await world.committed()).items():
        for out in [out for out in outs if out.partition == partition][:position]:
            assert out.key is not None
            assert out.value is not None
            key = out.key.decode()
            states[key] = f"{states.get(key, '')} {out.value.decode()}".strip()
    return states
