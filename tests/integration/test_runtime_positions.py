"""Positions that are lost, on a real broker: nothing is done again, and what cannot be right is refused in words."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import NewPartitions, NewTopic

from streams.runtime import Outgoing, Record, RuntimeFailed, Step
from streams.runtime.broker.identities import topic_ids
from streams.runtime.noted import KEY
from streams.runtime.remembering import remember, remembered
from streams.runtime.repairing import Kept, repair, standings
from tests.integration.runtime_world import World, a_world, at_work, begin, until

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


def kept(world: World) -> Kept:
    return Kept(world.topic("group"), world.topic("in"), changelog=world.topic("state"))


async def test_repair_sets_both_positions_and_nobody_at_work_has_his_taken_away(world: World):
    await done(world)
    [standing] = await standings(world.bootstrap, kept(world))
    assert (standing.beginning, standing.end, standing.committed, standing.noted, standing.change) == (0, 2, 2, 2, None)
    async with at_work(world.runtime(world.appending())):
        with pytest.raises(RuntimeFailed, match=r"1 members of .* are at work"):
            await repair(world.bootstrap, kept(world), "earliest")
    assert [position for _, position in await repair(world.bootstrap, kept(world), "earliest")] == [0]
    processor = world.appending()
    async with at_work(world.runtime(processor)):
        await world.until_values("out", 4)
    assert processor.handled == [(0, "a"), (0, "b")]


async def test_a_topic_that_was_created_anew_is_taken_up_after_a_repair(world: World):
    await done(world)
    await world.admin.delete_topics([world.topic("in")])
    await world.create(names=("in",))
    await world.send("x")
    with pytest.raises(RuntimeFailed, match="choose earliest or latest"):
        await repair(world.bootstrap, kept(world), "changelog")
    await repair(world.bootstrap, kept(world), "earliest")
    async with at_work(world.runtime(world.appending())):
        await world.until_committed({0: 1})
    assert await world.states() == {"k": "abx"}


async def test_who_has_no_states_goes_on_where_it_stood_when_the_groups_offset_is_gone_and_is_repaired_alike(world: World):
    await world.create(names=("in", "out", "dead"))
    await world.admin.create_topics([NewTopic(world.topic("positions"), 1, 1, topic_configs={"cleanup.policy": "compact"})])
    settings = {"changelogs": {}, "positions": world.topic("positions")}

    class Passing:
        def __init__(self) -> None:
            self.handled: list[bytes | None] = []

        async def handle(self, record: Record, step: Step[None]) -> None:
            self.handled.append(record.value)

    await world.send("a", "b")
    async with at_work(world.runtime(Passing(), **settings)):
        await world.until_committed({0: 2})
    known = await remembered(world.bootstrap, world.topic("positions"), world.topic("group"))
    other = Kept(world.topic("other"), world.topic("in"), positions=world.topic("positions"))
    await world.publisher.send([remember(world.topic("positions"), other.group, tp, note) for tp, note in known.items()])
    await world.send("c")
    processor = Passing()
    async with at_work(world.runtime(processor, group=other.group, **settings)):
        await until(lambda: processor.handled == [b"c"])
    assert [position for _, position in await repair(world.bootstrap, other, "earliest")] == [0]
    again = Passing()
    async with at_work(world.runtime(again, group=other.group, **settings)):
        await until(lambda: again.handled == [b"a", b"b", b"c"])
