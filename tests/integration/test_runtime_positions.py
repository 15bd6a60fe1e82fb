"""Positions that are lost, on a real broker: nothing is done again, and what cannot be right is refused in words."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import NewPartitions

from streams.runtime import Outgoing, RuntimeFailed
from streams.runtime.broker.identities import topic_ids
from streams.runtime.noted import KEY
from tests.integration.runtime_world import World, a_world, at_work, begin

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


async def done(world: World) -> None:
    await world.create()
    await world.send("a", "b")
    async with at_work(world.runtime(world.appending())):
        await world.until_committed({0: 2})


async def test_a_group_without_offsets_goes_on_where_its_changelog_says(world: World):
    """Another group with the same changelog: what is left once the offsets of the first have expired."""
    await done(world)
    processor = world.appending()
    async with at_work(world.runtime(processor, group=world.topic("other"))):
        await world.send("c")
        await world.until_values("out", 3)
    assert processor.handled == [(0, "c")]
    assert await world.states() == {"k": "abc"}


async def test_states_of_an_older_version_and_no_offset_are_not_begun_again(world: World):
    await world.create()
    await world.send("a")
    await world.publisher.send([Outgoing(world.topic("state"), b"k", b"kept")])
    with pytest.raises(RuntimeFailed, match=r"1 states of .* and no position.*hil positions repair"):
        await begin(world.runtime(world.appending()))


async def test_a_topic_that_was_created_anew_is_known_by_its_id(world: World):
    await done(world)
    before = (await topic_ids(world.bootstrap, [world.topic("in")]))[world.topic("in")]
    await world.admin.delete_topics([world.topic("in")])
    await world.create(names=("in",))
    await world.send("x", "y", "z")
    assert (await topic_ids(world.bootstrap, [world.topic("in")]))[world.topic("in")] != before
    with pytest.raises(RuntimeFailed, match="was created anew"):
        await begin(world.runtime(world.appending()))


async def test_partitions_added_to_a_topic_with_states_are_refused(world: World):
    await done(world)
    await world.admin.create_partitions({world.topic(name): NewPartitions(3) for name in ("in", "state")})
    with pytest.raises(RuntimeFailed, match="had 1 partitions and has 3"):
        await begin(world.runtime(world.appending()))


async def test_a_damaged_note_counts_as_none(world: World):
    await done(world)
    await world.publisher.send([Outgoing(world.topic("state"), KEY, b"garbage")])
    async with at_work(world.runtime(world.appending())):
        await world.send("c")
        await world.until_committed({0: 3})
    assert await world.states() == {"k": "abc"}
