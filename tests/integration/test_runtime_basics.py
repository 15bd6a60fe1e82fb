"""The runtime against a real broker: order, restart, watermark, bounds, drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streams.runtime import Outgoing, Record, RuntimeFailed, Step
from tests.integration.runtime_world import World, a_world, at_work, begin, crash, until

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


async def test_records_of_a_partition_are_handled_in_order_and_their_states_survive_a_restart(world: World):
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


async def test_a_processor_with_an_empty_topic_and_changelog_gets_ready_and_then_works(world: World):
    await world.create()
    processor = world.appending()
    async with at_work(world.runtime(processor)):
        assert processor.opened_with == {0: {}}
        await world.send("a")
        assert await world.until_values("out", 1) == ["a"]


async def test_a_changelog_that_ends_in_deletions_and_markers_is_restored_to_its_end(world: World):
    """Each commit leaves a transaction marker behind; the last thing written is a tombstone."""
    await world.create()

    class Forgetting:
        opened_with: dict[str, str] | None = None

        async def handle(self, record: Record, step: Step[str]) -> None:
            value = (record.value or b"").decode()
            step.put("k", None if value == "forget" else value)

        def opened(self, partition) -> None:
            self.opened_with = dict(partition.items())

    async with at_work(world.runtime(Forgetting())):
        for position, value in enumerate(("a", "b", "forget"), 1):
            await world.send(value)
            await world.until_committed({0: position})
    again = Forgetting()
    async with at_work(world.runtime(again)):
        assert again.opened_with == {}


async def test_slow_work_holds_the_position_while_fast_work_beside_it_goes_on(world: World):
    """Concurrency > 1: the record at offset 0 waits, the nine after it are done and published, the position stays at 0."""
    await world.create()
    release = asyncio.Event()

    async def wait_if_slow(record: Record, step: Step[str]) -> None:
        if record.key == b"slow":
            await release.wait()

    await world.send("s", key="slow")
    for number in range(9):
        await world.send("f", key=f"fast{number}")
    async with at_work(world.runtime(world.appending(before=wait_if_slow), concurrency=20)):
        assert await world.until_values("out", 9) == ["f"] * 9
        await asyncio.sleep(0.2)  # several commit intervals in which the position could wrongly move
        assert await world.committed() == {}
        assert await world.states() == {}
        release.set()
        await world.until_committed({0: 10})
    assert len(await world.states()) == 10


async def test_records_of_one_key_stay_in_order_when_many_keys_are_worked_on_at_once(world: World):
    await world.create()
    for value in "abcdef":
        for key in ("x", "y", "z"):
            await world.send(value, key=key)

    async def uneven(record: Record, step: Step[str]) -> None:
        await asyncio.sleep(0.001 * (record.offset % 5))

    async with at_work(world.runtime(world.appending(before=uneven), concurrency=8)):
        await world.until_committed({0: 18})
    assert await world.states() == dict.fromkeys("xyz", "abcdef")


async def test_no_more_than_the_bound_is_in_flight_and_fetching_resumes_below_it(world: World):
    await world.create()
    release, begun = asyncio.Event(), []

    async def wait(record: Record, step: Step[str]) -> None:
        begun.append(record.offset)
        await release.wait()

    await world.publisher.send([Outgoing(world.topic("in"), f"k{n}".encode(), b"v") for n in range(50)])
    runtime = world.runtime(world.appending(before=wait), concurrency=100, max_in_flight=10)
    async with at_work(runtime):
        await until(lambda: len(begun) == 10)
        await asyncio.sleep(0.2)  # time to begin an eleventh
        assert len(begun) == 10
        assert [status.in_flight for status in runtime.status()] == [10]
        release.set()
        await world.until_committed({0: 50})
    assert sorted(begun) == list(range(50))


async def test_polling_and_heartbeats_go_on_while_a_handler_is_slow(world: World):
    """The handler takes longer than the session timeout; the group does not notice and no record comes twice."""
    await world.create()

    async def slow(record: Record, step: Step[str]) -> None:
        await asyncio.sleep(6.5)

    await world.send("a")
    processor = world.appending(before=slow)
    async with at_work(world.runtime(processor, session_timeout_ms=6_000, heartbeat_interval_ms=300)):
        await world.until_committed({0: 1})
    assert processor.handled == [(0, "a")]


async def test_stop_lets_a_begun_record_end_and_commits_it(world: World):
    await world.create()
    begun, release = asyncio.Event(), asyncio.Event()

    async def wait(record: Record, step: Step[str]) -> None:
        begun.set()
        await release.wait()

    await world.send("a", "b")
    runtime = world.runtime(world.appending(before=wait))
    running = await begin(runtime)
    await begun.wait()
    stopping = asyncio.create_task(runtime.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    release.set()
    await stopping
    await running
    assert await world.committed() == {0: 1}
    assert await world.values("out") == ["a"]


async def test_stop_gives_up_at_its_deadline_and_the_record_comes_again(world: World):
    await world.create()

    async def forever(record: Record, step: Step[str]) -> None:
        if record.value == b"stuck":
            await asyncio.Event().wait()

    await world.send("a", "stuck")
    processor = world.appending(before=forever)
    async with at_work(world.runtime(processor, drain_deadline_s=0.2)):
        await until(lambda: len(processor.handled) == 1)
    assert await world.committed() == {0: 1}
    async with at_work(world.runtime(world.appending())):
        await world.until_committed({0: 2})
    assert await world.states() == {"k": "astuck"}


async def test_a_stateless_processor_commits_its_position_after_its_outputs(world: World):
    await world.create(partitions=2)

    class Copying:
        async def handle(self, record: Record, step: Step[str]) -> None:
            step.publish(Outgoing(world.topic("out"), record.key, record.value))

    await world.send("a", "b", partition=0)
    await world.send("c", partition=1)
    async with at_work(world.runtime(Copying(), changelogs={})):
        await world.until_committed({0: 2, 1: 1})
    assert sorted(await world.values("out")) == ["a", "b", "c"]


async def test_missing_topics_and_uneven_partition_counts_are_said_before_anything_runs(world: World):
    await world.create(names=("in", "out"))
    with pytest.raises(RuntimeFailed, match=r"has no topic .*\.state: create it"):
        await world.runtime(world.appending()).run()
    await world.create(partitions=3, names=("state",))
    with pytest.raises(RuntimeFailed, match=r"1 partitions and its changelog .* has 3"):
        await world.runtime(world.appending()).run()


async def test_what_was_not_committed_happens_again_and_state_never_runs_ahead_of_the_position(world: World):
    """A crash between publish and commit: outputs are repeated, the state is as if the records had come once."""
    await world.create()
    await world.send("a")
    async with at_work(world.runtime(world.appending())):
        await world.until_committed({0: 1})
    await world.send("b", "c")
    running = await begin(world.runtime(world.appending(), commit_interval_s=60))
    assert await world.until_values("out", 3) == ["a", "ab", "abc"]
    await crash(running)
    assert await world.committed() == {0: 1}
    assert await world.states() == {"k": "a"}
    async with at_work(world.runtime(world.appending())):
        await world.until_committed({0: 3})
    assert await world.values("out") == ["a", "ab", "abc", "ab", "abc"]
    assert await world.states() == {"k": "abc"}
