"""What the runtime does when a handler fails, a record is bad, or the broker refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streams.runtime import Outgoing, Publisher, Record, RuntimeFailed, Step, TooLarge, Unavailable, Undecodable
from streams.runtime.commits import TransactionalCommits
from streams.runtime.reading import Reader
from tests.integration.runtime_world import PATIENCE_S, World, a_world, at_work, begin, crash, partition_of

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


async def test_an_undecodable_record_goes_to_dead_letters_and_the_next_one_is_handled(world: World):
    await world.create()

    async def check(record: Record, step: Step[str]) -> None:
        if record.value == b"bad":
            raise Undecodable("not_json", "the value is not JSON")

    await world.send("a", "bad", "b")
    async with at_work(world.runtime(world.appending(before=check))):
        await world.until_committed({0: 3})
    assert await world.values("dead") == ["not_json|the value is not JSON|1"]
    assert await world.states() == {"k": "ab"}


async def test_a_failing_handler_is_tried_again_with_nothing_left_of_its_failed_attempts(world: World):
    """Twice it publishes and puts and then raises; the third attempt goes through. Its outputs and its state are there once."""
    await world.create()
    attempts = []

    class Failing:
        async def handle(self, record: Record, step: Step[str]) -> None:
            assert step.get("k") is None
            step.put("k", "done")
            step.publish(Outgoing(world.topic("out"), b"k", b"once"))
            attempts.append(record.offset)
            if len(attempts) < 3:
                raise ValueError("not yet")

    await world.send("a")
    async with at_work(world.runtime(Failing(), max_attempts=3)):
        await world.until_committed({0: 1})
    assert attempts == [0, 0, 0]
    assert await world.values("out") == ["once"]
    assert await world.states() == {"k": "done"}
    assert await world.values("dead") == []


async def test_a_handler_that_keeps_failing_sends_its_record_to_dead_letters_in_words(world: World):
    await world.create()

    async def fail(record: Record, step: Step[str]) -> None:
        if record.value == b"bad":
            raise ZeroDivisionError("nothing to divide by")

    await world.send("a", "bad", "b")
    async with at_work(world.runtime(world.appending(before=fail), max_attempts=2)):
        await world.until_committed({0: 3})
    assert await world.values("dead") == ["handler_failed|ZeroDivisionError: nothing to divide by|2"]
    assert await world.values("out") == ["a", "ab"]


async def test_a_cancellation_that_slips_out_of_a_handler_is_a_failure_and_not_the_end_of_the_partition(world: World):
    await world.create()

    async def slip(record: Record, step: Step[str]) -> None:
        if record.value == b"bad":
            inner = asyncio.ensure_future(asyncio.sleep(60))
            inner.cancel()
            await inner

    await world.send("bad", "a")
    async with at_work(world.runtime(world.appending(before=slip), max_attempts=2)):
        await world.until_committed({0: 2})
    assert await world.values("dead") == ["handler_failed|asyncio.exceptions.CancelledError|2"]


async def test_a_failed_commit_is_the_last_one_also_when_draining(world: World, monkeypatch: pytest.MonkeyPatch):
    """States of the failed commit would be missing from the next one, although its position has passed them."""
    await world.create()
    commits = []

    async def fail(self: TransactionalCommits, position: int | None, writes: object) -> None:
        if position is None:  # where a fresh partition begins
            return
        commits.append(position)
        raise RuntimeFailed("the broker has gone mad")

    monkeypatch.setattr(TransactionalCommits, "commit", fail)
    running = await begin(world.runtime(world.appending()))
    await world.send("a", "b")
    with pytest.raises(RuntimeFailed, match="gone mad"):
        await running
    assert len(commits) == 1
    assert await world.committed() == {}


async def test_a_position_beyond_the_end_of_its_topic_is_refused_in_words(world: World):
    """Going on from there would wait for records that never come."""
    await world.create()
    somebody = TransactionalCommits(world.settings(), partition_of(world, 0))
    await somebody.open()
    await somebody.commit(99, [(b"k", b"state")])
    await somebody.close()
    with pytest.raises(RuntimeFailed, match="was the topic created anew"):
        await world.runtime(world.appending()).run()


async def test_unavailable_stops_the_process_and_passes_nothing(world: World):
    await world.create()

    async def unavailable(record: Record, step: Step[str]) -> None:
        raise Unavailable("the database is gone")

    await world.send("a")
    runtime = world.runtime(world.appending(before=unavailable))
    with pytest.raises(Unavailable, match="the database is gone"):
        await runtime.run()
    assert await world.committed() == {}
    assert await world.values("dead") == []


async def test_an_output_no_topic_accepts_fails_its_record_and_not_the_others(world: World):
    await world.create()

    async def swell(record: Record, step: Step[str]) -> None:
        if record.value == b"big":
            step.publish(Outgoing(world.topic("out"), b"k", b"x" * 9_000_000))

    await world.send("a", "big", "b")
    async with at_work(world.runtime(world.appending(before=swell), max_attempts=1)):
        await world.until_committed({0: 3})
    [dead] = await world.values("dead")
    assert dead.startswith("output_too_large|")
    assert "a topic accepts" in dead


async def test_an_output_for_a_topic_that_does_not_exist_stops_the_process(world: World):
    await world.create()

    class Lost:
        async def handle(self, record: Record, step: Step[str]) -> None:
            step.publish(Outgoing(world.topic("nowhere"), b"k", b"v"))

    await world.send("a")
    with pytest.raises(RuntimeFailed, match=r"topic .*\.nowhere is not known to the broker"):
        await world.runtime(Lost(), broker_patience_s=1).run()
    assert await world.committed() == {}


async def test_a_broker_that_does_not_answer_is_named_with_its_address():
    with pytest.raises(RuntimeFailed, match=r"127\.0\.0\.1:1 "):
        await Publisher("127.0.0.1:1").start()


async def test_a_journal_entry_is_durable_when_the_call_returns_and_is_seen_after_a_crash(world: World):
    """The position has not moved, so the record comes again and finds its own intent."""
    await world.create()
    journalled = asyncio.Event()

    async def intend(record: Record, step: Step[str]) -> None:
        if step.get("k") is None:
            await step.journal("k", "intent")
            journalled.set()
            await asyncio.Event().wait()

    await world.send("+done")
    running = await begin(world.runtime(world.appending(before=intend), concurrency=4))
    await journalled.wait()
    assert await world.states() == {"k": "intent"}
    assert await world.committed() == {}
    await crash(running)
    async with at_work(world.runtime(world.appending(before=intend), concurrency=4)):
        await world.until_committed({0: 1})
    assert await world.states() == {"k": "intent+done"}


async def test_what_went_ahead_is_seen_after_a_crash_though_a_record_before_it_never_ended(world: World):
    """A worker dies while one task waits for its model; the task behind it is done, and must not be worked on again."""
    await world.create()
    found: dict[str, str | None] = {}

    async def go_ahead(record: Record, step: Step[str]) -> None:
        key = (record.key or b"").decode()
        found[key] = step.get(key)
        if key == "slow" and found["slow"] is None and "again" not in found:
            await asyncio.Event().wait()
        step.ahead()

    await world.send("a", key="slow")
    await world.send("b", key="fast")
    running = await begin(world.runtime(world.appending(before=go_ahead), concurrency=4, commit_interval_s=3600))
    async with asyncio.timeout(PATIENCE_S):
        while await world.states() != {"fast": "b"}:
            await asyncio.sleep(0.01)
    assert await world.committed() == {}
    await crash(running)
    found["again"] = ""
    async with at_work(world.runtime(world.appending(before=go_ahead), concurrency=4, commit_interval_s=0.01)):
        await world.until_committed({0: 2})
    assert found == {"slow": None, "fast": "b", "again": ""}


async def test_journal_calls_that_wait_together_are_committed_together(world: World):
    """A hundred executions journal at once; they cost a few transactions, each of which leaves one marker in the changelog."""
    await world.create()

    async def intend(record: Record, step: Step[str]) -> None:
        await step.journal((record.key or b"").decode(), "intent")

    await world.publisher.send([Outgoing(world.topic("in"), f"k{n}".encode(), b"v") for n in range(100)])
    async with at_work(world.runtime(world.appending(before=intend), concurrency=100)):
        await world.until_committed({0: 100})
    reader = Reader(world.bootstrap, [world.topic("state")])
    await reader.start()
    ends = await reader.ends()
    await reader.stop()
    markers = sum(ends.values()) - 200
    assert 0 < markers < 20


async def test_what_was_published_before_a_journal_entry_goes_out_with_it(world: World):
    await world.create()
    release = asyncio.Event()

    async def announce(record: Record, step: Step[str]) -> None:
        step.publish(Outgoing(world.topic("out"), b"k", b"announced"))
        await step.journal("k", "intent")
        await release.wait()

    await world.send("+a")
    async with at_work(world.runtime(world.appending(before=announce))):
        assert await world.until_values("out", 1) == ["announced"]
        release.set()
        await world.until_committed({0: 1})


async def test_a_record_that_is_too_large_is_refused_before_it_is_sent(world: World):
    await world.create()
    with pytest.raises(TooLarge, match="shorten it"):
        await world.publisher.send([Outgoing(world.topic("in"), b"k", b"x" * 9_000_000)])
    large = "y" * 7_000_000
    await world.send(large, "small")
    assert [len(value) for value in await world.values("in")] == [7_000_000, 5]
