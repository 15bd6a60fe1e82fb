"""The runtime against a real broker: order, restart, watermark, dead letters, bounds, drain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.runtime_world import World, a_world, at_work

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


async def test_records_of_a_partition_are_handled_in_order_and_their_states_survive_a_restart(world: World) -> None:
    await world.create()
    await world.send(*"abc")
    first = world.appending()
    async with at_work(world.runtime(first)):
        assert await world.until_values("out", 3) == ["a", "ab", "abc"]
    assert await world.committed() == {0: 3}
    assert await world.states() == {"k": "abc"}
    await world.send("d")
    second = world.appending()
    async with at_work(world.runtime(second)):
        assert (await world.until_values("out", 4))[-1] == "abcd"
    assert second.opened_with == {0: {"k": "abc"}}
    assert second.handled == [(0, "d")]
