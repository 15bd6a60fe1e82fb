"""Records at work before their own place is known: each is handled once, and the position passes them in their order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams.runtime import Outgoing, Undecodable
from streams.runtime.begun import Begun
from streams.runtime.broker.arrived import Arrived
from streams.runtime.broker.fetches import Fetches
from streams.runtime.effects import EffectsLog, Entry
from streams.runtime.store import StateStore
from tests.unit.runtime.fakes import SOURCE, FakeBroker, TextCodec, measured, owner_of
from tests.unit.runtime.test_broker_reading import TP, Consumer, as_fetched, batch


class Desk:
    """Where records are begun; notes the places they take."""

    def __init__(self) -> None:
        fetching: Any = SimpleNamespace(arrived=Arrived(), read=lambda *_: None, wake=lambda *_: None, forget=lambda *_: None)
        self.fetches = Fetches(Consumer(), fetching)
        self.fetches.assigned([TP])
        self.fetches.seek(TP, 5)
        self.fetches.early(TP, self._begin)
        self.room = True
        self.placed: list[tuple[int, bytes | None]] = []

    def _begin(self, out: Outgoing) -> Begun[str] | None:
        return Begun(out, Entry(-1), self._place) if self.room else None

    def _place(self, begun: Begun[str]) -> None:
        begun.entry.locate(begun.offset, begun.timestamp_ms)
        self.placed.append((begun.offset, begun.out.value))

    def write(self, *values: bytes) -> tuple[Any, list[bool]]:
        """The batch they travel in, and which of them were begun."""
        travelling = batch(*values)
        return travelling, [self.fetches.begin(TP, out) for out in travelling.records]

    def caught_up(self) -> None:
        self.fetches.take(as_fetched(5, b"x"), 5)

    async def polled(self) -> list[tuple[int, bytes | None]]:
        records: Any = (await self.fetches.poll(0)).get(TP, ())
        for record in records:
            if type(record) is Begun:
                record.place()
        return [(record.offset, record.value) for record in records if type(record) is not Begun]


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    made.caught_up()
    assert await made.polled() == [(5, b"x")]
    return made


async def test_nothing_is_begun_before_everything_that_is_there_was_handed_over():
    desk = Desk()
    assert desk.write(b"a")[1] == [False]
    desk.caught_up()
    assert desk.write(b"a")[1] == [False]
    await desk.polled()
    assert desk.write(b"a")[1] == [True]


async def test_begun_records_take_their_places_when_they_are_durable(desk: Desk):
    travelling, begun = desk.write(b"a", b"b")
    assert begun == [True, True]
    assert desk.placed == []
    assert desk.fetches.offer(TP, 6, travelling)
    assert desk.placed == [(6, b"a"), (7, b"b")]
    assert desk.fetches.position(TP) == desk.fetches.end(TP) == 8
    assert await desk.polled() == []


async def test_what_others_wrote_in_between_comes_first(desk: Desk):
    travelling, _ = desk.write(b"a")
    assert not desk.fetches.offer(TP, 7, travelling)
    assert desk.write(b"c")[1] == [False]
    desk.fetches.take(as_fetched(6, b"foreign", b"a", b"later"), 6)
    assert desk.placed == []
    assert await desk.polled() == [(6, b"foreign"), (8, b"later")]
    assert desk.placed == [(7, b"a")]


async def test_an_answer_with_a_record_that_is_at_work_and_not_known_to_be_durable_is_not_taken(desk: Desk):
    travelling, _ = desk.write(b"a")
    assert desk.fetches.wanted(TP) is None
    desk.fetches.take(as_fetched(6, b"a"), 6)
    assert await desk.polled() == []
    desk.fetches.offer(TP, 6, travelling)
    assert desk.placed == [(6, b"a")]
    assert desk.fetches.wanted(TP) == 7


async def test_a_batch_of_which_not_all_was_begun_is_handed_over_in_order(desk: Desk):
    first, _ = desk.write(b"a")
    desk.room = False
    _, begun = desk.write(b"b")
    assert begun == [False]
    both = batch(b"a", b"b")
    both.records[0] = first.records[0]
    assert desk.fetches.offer(TP, 6, both)
    assert desk.placed == []
    assert await desk.polled() == [(7, b"b")]
    assert desk.placed == [(6, b"a")]


async def test_of_a_partition_that_was_given_away_nothing_is_known_any_more(desk: Desk):
    travelling, _ = desk.write(b"a")
    desk.fetches.early(TP, None)
    assert desk.fetches.offer(TP, 6, travelling)
    assert await desk.polled() == [(6, b"a")]
    assert desk.write(b"b")[1] == [False]


def test_the_position_passes_a_begun_record_when_it_is_through_and_has_its_place():
    log: EffectsLog[str] = EffectsLog(StateStore(TextCodec()))
    log.begin(0)
    first, early = log.open(0), Entry[str](-1)
    log.apply(early, measured({"k": "state"}))
    assert not log.settle(early)
    assert not log.place(early, 1, 0)
    assert log.get("k") == "state"
    assert log.settle(first)
    assert log.position == 2
    taken = log.take()
    assert taken is not None
    assert set(taken.puts) == {"k"}


def test_a_begun_record_does_not_take_a_place_before_one_that_precedes_it():
    log: EffectsLog[str] = EffectsLog(StateStore(TextCodec()))
    log.begin(0)
    log.open(7)
    with pytest.raises(AssertionError, match="precedes"):
        log.place(Entry(-1), 6, 0)


class Opened:
    """A partition at work that begins early, and where that is done."""

    def __init__(self, processor: Any) -> None:
        self.broker = FakeBroker()
        self.begin: Any = None
        self.broker.early = lambda partition, begin: setattr(self, "begin", begin)  # type: ignore[method-assign]
        self.owner = owner_of(self.broker, processor, concurrency=2, early=True, max_attempts=1, commit_interval_s=60.0)

    async def __aenter__(self) -> Opened:
        self.owner.start()
        await until(lambda: self.begin is not None)
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.owner.abort()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def out(value: bytes, key: bytes = b"k") -> Outgoing:
    return Outgoing(SOURCE.topic, key, value, partition=SOURCE.partition)


async def test_a_record_is_handled_before_it_is_durable_and_committed_after():
    class Echo:
        async def handle(self, record: Any, step: Any) -> None:
            step.put(record.key.decode(), record.value.decode())
            step.publish(Outgoing("out", record.key, record.value))

    async with Opened(Echo()) as opened:
        begun = opened.begin(out(b"one"))
        await until(lambda: len(opened.broker.sent) == 1)
        opened.broker.deliver()
        await opened.owner._committer.commit()
        assert opened.broker.commits[1:] == []
        begun.offset = 0
        begun.place()
        await opened.owner._committer.commit()
        assert opened.broker.commits[-1] == (1, {b"k": b"one"})


async def test_a_second_record_of_a_key_is_not_begun_beside_the_first():
    going = asyncio.Event()

    class Slow:
        async def handle(self, record: Any, step: Any) -> None:
            await going.wait()

    async with Opened(Slow()) as opened:
        assert opened.begin(out(b"one")) is not None
        assert opened.begin(out(b"two")) is None
        assert opened.begin(out(b"three", b"other")) is not None
        assert opened.begin(out(b"four", b"a third")) is None
        going.set()


async def test_a_begun_record_that_cannot_be_handled_is_buried_under_its_own_offset():
    buried: list[tuple[int, int]] = []

    class Refusing:
        async def handle(self, record: Any, step: Any) -> None:
            raise Undecodable("garbage", "no such thing")

    async with Opened(Refusing()) as opened:
        opened.owner._around.dead_letter = lambda record, *_: buried.append((record.offset, record.timestamp_ms)) or out(b"dead")  # type: ignore[func-returns-value]
        begun = opened.begin(out(b"?"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert buried == []
        begun.offset, begun.timestamp_ms = 0, 1_700_000_000_000
        begun.place()
        await until(lambda: buried)
        assert buried == [(0, 1_700_000_000_000)]
