"""One partition from opening to closing, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streams.runtime import Fenced, Outgoing, Record, Step
from streams.runtime.partition import PartitionOwner
from streams.runtime.standby import KEEP_S
from streams.runtime.store import StateStore
from tests.unit.runtime.fakes import FakeBroker, TextCodec, owner_of, raw


class Appending:
    """State: the values seen so far. Publishes each."""

    def __init__(self, before: Callable[[Record, Step[str]], Any] | None = None) -> None:
        self.handled: list[int] = []
        self._before = before

    async def handle(self, record: Record, step: Step[str]) -> None:
        if self._before is not None:
            await self._before(record, step)
        assert record.value is not None
        assert record.key is not None
        step.put(record.key.decode(), (step.get(record.key.decode()) or "") + record.value.decode())
        step.publish(Outgoing("out", record.key, record.value))
        self.handled.append(record.offset)


@asynccontextmanager
async def opened(broker: FakeBroker, processor: Any, **settings: Any) -> AsyncIterator[PartitionOwner[str]]:
    owner = owner_of(broker, processor, **settings)
    owner.start()
    await until(lambda: owner.phase == "working" and not broker.paused)
    try:
        yield owner
    finally:
        await owner.abort()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Let everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_partition_is_fenced_then_positioned_then_restored_and_only_then_at_work():
    """A position read before the fence could be overtaken by the former owner's last commit."""
    broker = FakeBroker(committed_position=7, changelog={b"k": b"known"})
    seen: dict[str, str] = {}

    class Opened(Appending):
        def opened(self, view: Any) -> None:
            broker.happened.append("opened")
            seen.update(view.items())

    async with opened(broker, Opened()):
        assert broker.happened == ["fence", "read committed position", "restore", "seek 7", "opened", "resume", "open"]
        assert seen == {"k": "known"}


async def test_records_that_arrive_before_the_partition_is_open_are_dropped():
    """They may lie before or after the committed position; the seek brings back those that count."""
    broker, processor = FakeBroker(), Appending()
    owner = owner_of(broker, processor)
    owner.feed([raw(3)])
    owner.start()
    await until(lambda: not broker.paused)
    owner.feed([raw(0)])
    await until(lambda: len(processor.handled) == 1)
    assert processor.handled == [0]
    await owner.abort()


async def test_nothing_is_committed_before_the_outputs_are_durable():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=0) as owner:
        owner.feed([raw(0, "a"), raw(1, "b")])
        await until(lambda: len(broker.sent) == 2)
        await turns()
        assert broker.commits == []
        broker.deliver()
        await until(lambda: bool(broker.commits))
        assert broker.commits == [(2, {b"k": b"ab"})]


async def test_the_next_record_is_handled_while_the_outputs_of_the_last_are_on_their_way():
    broker, processor = FakeBroker(), Appending()
    async with opened(broker, processor) as owner:
        owner.feed([raw(offset) for offset in range(5)])
        await until(lambda: processor.handled == [0, 1, 2, 3, 4])
        assert broker.commits == []


async def test_the_bound_holds_also_when_handlers_are_quick_and_delivery_is_slow():
    broker, processor = FakeBroker(), Appending()
    async with opened(broker, processor, max_in_flight=3) as owner:
        owner.feed([raw(offset) for offset in range(10)])
        await until(lambda: len(processor.handled) == 3)
        await turns()
        assert processor.handled == [0, 1, 2]
        assert broker.paused
        while len(processor.handled) < 10:
            broker.deliver()
            await turns()
        broker.deliver()
        await turns()
        assert not broker.paused


async def test_a_full_batch_does_not_wait_for_its_interval():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=3600, commit_every=2) as owner:
        owner.feed([raw(0), raw(1)])
        await until(lambda: len(broker.sent) == 2)
        broker.deliver()
        await until(lambda: bool(broker.commits))
        assert broker.commits[0][0] == 2


async def test_what_may_go_ahead_is_durable_while_a_record_before_it_is_still_being_handled():
    broker = FakeBroker()

    async def go_ahead(record: Record, step: Step[str]) -> None:
        if record.offset == 0:
            await asyncio.Event().wait()
        step.ahead()

    async with opened(broker, Appending(go_ahead), concurrency=2, commit_interval_s=3600, commit_soon_s=0) as owner:
        owner.feed([raw(0, "a", key="slow"), raw(1, "b", key="fast")])
        await until(lambda: bool(broker.commits))
        assert broker.commits == [(None, {b"fast": b"b"})]


async def test_what_goes_ahead_brings_the_next_commit_forward():
    broker = FakeBroker()

    async def go_ahead(record: Record, step: Step[str]) -> None:
        if record.offset == 1:
            step.ahead()

    async with opened(broker, Appending(go_ahead), commit_interval_s=3600, commit_soon_s=0, commit_spacing_s=0) as owner:
        owner.feed([raw(0, "a", key="x")])
        await until(lambda: len(broker.sent) == 1)
        await turns()
        assert broker.commits == []
        owner.feed([raw(1, "b", key="y")])
        await until(lambda: bool(broker.commits))
        assert broker.commits == [(None, {b"y": b"b"})]


async def test_what_goes_ahead_leaves_the_commit_before_its_distance():
    broker = FakeBroker()

    async def go_ahead(record: Record, step: Step[str]) -> None:
        step.ahead()

    async with opened(broker, Appending(go_ahead), commit_interval_s=3600, commit_soon_s=0, commit_spacing_s=3600) as owner:
        owner.feed([raw(0, "a", key="x")])
        await until(lambda: len(broker.commits) == 1)
        owner.feed([raw(1, "b", key="y")])
        await until(lambda: len(broker.sent) == 2)
        await turns()
        assert len(broker.commits) == 1


async def test_on_a_machine_that_has_just_started_what_goes_ahead_waits_for_no_commit_that_never_was(
    monkeypatch: pytest.MonkeyPatch,
):
    """The loop's clock begins with the machine: zero is not long ago."""
    loop = asyncio.get_running_loop()
    booted, clock = loop.time(), loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() - booted)
    broker = FakeBroker()

    async def go_ahead(record: Record, step: Step[str]) -> None:
        step.ahead()

    async with opened(broker, Appending(go_ahead), commit_interval_s=3600, commit_soon_s=0, commit_spacing_s=3600) as owner:
        owner.feed([raw(0, "a", key="x")])
        await until(lambda: len(broker.commits) == 1)


async def test_a_store_that_was_never_complete_is_too_old_to_be_kept_whatever_the_clock_says():
    assert all(now - StateStore(TextCodec()).known_at > KEEP_S for now in (0.0, 1.0, KEEP_S - 1))


async def test_draining_ends_what_is_begun_begins_nothing_more_and_commits():
    broker, release = FakeBroker(), asyncio.Event()

    async def wait(record: Record, step: Step[str]) -> None:
        await release.wait()

    processor = Appending(wait)
    async with opened(broker, processor, commit_interval_s=3600) as owner:
        owner.feed([raw(0, "a"), raw(1, "b")])
        await turns()
        draining = asyncio.create_task(owner.drain(60))
        await turns()
        release.set()
        await until(lambda: bool(broker.sent))
        assert not draining.done()
        broker.deliver()
        await draining
    assert processor.handled == [0]
    assert broker.commits == [(1, {b"k": b"a"})]


async def test_after_a_refused_commit_no_other_one_is_tried_and_waiting_journals_are_refused():
    broker, refusals = FakeBroker(), []

    async def intend(record: Record, step: Step[str]) -> None:
        try:
            await step.journal("k", "intent")
        except Fenced as error:
            refusals.append(error)

    async with opened(broker, Appending(intend)) as owner:
        broker.refuse = Fenced("somebody else has it")
        owner.feed([raw(0)])
        await until(lambda: "lost" in broker.happened)
        broker.refuse = None
        await turns()
        assert len(refusals) == 1
        assert broker.sent == []
        await owner.drain(1)
    assert broker.commits == []


async def test_a_commit_that_fails_for_another_reason_is_a_failure_of_the_process():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=0) as owner:
        broker.refuse = OSError("the network is gone")
        owner.feed([raw(0)])
        await until(lambda: bool(broker.sent))
        broker.deliver()
        await until(lambda: bool(broker.failures))
    assert "cannot go on" in str(broker.failures[0])
    assert "the network is gone" in str(broker.failures[0])


async def test_a_failed_commit_is_followed_by_no_other_which_would_lack_its_states():
    """Two records are through; the commit of the first fails; draining must not move the position past both."""
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=0) as owner:
        owner.feed([raw(0, "a", key="x"), raw(1, "b", key="y")])
        await until(lambda: len(broker.sent) == 2)
        broker.refuse = OSError("the network is gone")
        first, second = broker.sent
        first[1].delivered(0, 0)
        await until(lambda: bool(broker.failures))
        broker.refuse = None
        second[1].delivered(0, 1)
        await owner.drain(1)
    assert broker.commits == []


async def test_handlers_that_never_wait_leave_the_loop_to_others():
    """A thousand records are at hand; something else still gets its turn before they are through."""
    broker, handled_at_tick = FakeBroker(), []

    async def busy(record: Record, step: Step[str]) -> None:
        end = asyncio.get_running_loop().time() + 0.0002
        while asyncio.get_running_loop().time() < end:
            pass

    processor = Appending(busy)
    async with opened(broker, processor) as owner:
        owner.feed([raw(offset) for offset in range(200)])
        while len(processor.handled) < 200:
            handled_at_tick.append(len(processor.handled))
            await asyncio.sleep(0)
    assert len(handled_at_tick) > 10


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_stateless_processor_that_puts_state_is_told_to_get_a_changelog(concurrency: int):
    broker = FakeBroker()
    async with opened(broker, Appending(), stateful=False, concurrency=concurrency, max_attempts=1) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(broker.sent))
    [(dead, _)] = broker.sent
    assert dead.topic == "dead"
    assert b"has no changelog" in (dead.value or b"")


async def test_what_a_handler_tells_is_sent_at_once_and_can_be_waited_for():
    broker, waited = FakeBroker(), asyncio.Event()

    async def tells(record: Record, step: Step[str]) -> None:
        step.tell(Outgoing("told", b"k", b"first"))
        step.tell(Outgoing("told", b"k", b"second"))
        await step.told()
        waited.set()

    async with opened(broker, Appending(tells)) as owner:
        owner.feed([raw(0)])
        await until(lambda: len(broker.sent) == 2)
        await turns()
        assert not waited.is_set()
        assert [out.topic for out, _ in broker.sent] == ["told", "told"]
        broker.deliver()
        await until(waited.is_set)
        await until(lambda: [out.topic for out, _ in broker.sent] == ["out"])


async def test_who_has_told_nothing_waits_for_nobody():
    broker, turns_taken = FakeBroker(), []

    async def silent(record: Record, step: Step[str]) -> None:
        waiting = step.told().__await__()
        turns_taken.append(next(waiting, "through"))

    async with opened(broker, Appending(silent)) as owner:
        owner.feed([raw(0)])
        await until(lambda: turns_taken == ["through"])


async def test_a_position_does_not_pass_what_was_told_and_is_not_durable():
    """Whoever told it may not have waited for it."""
    broker = FakeBroker()

    async def tells(record: Record, step: Step[str]) -> None:
        step.tell(Outgoing("told", b"k", b"v"))

    async with opened(broker, Appending(tells), commit_interval_s=0.0) as owner:
        owner.feed([raw(0)])
        await until(lambda: len(broker.sent) == 2)
        told, output = broker.sent
        output[1].delivered(0, 0)
        await turns()
        assert owner.log.position == 0
        told[1].delivered(0, 0)
        await until(lambda: owner.log.position == 1)


async def test_what_a_handler_told_stays_told_when_it_fails():
    broker, attempts = FakeBroker(), []

    async def fails_once(record: Record, step: Step[str]) -> None:
        attempts.append(record.offset)
        step.tell(Outgoing("told", b"k", b"v"))
        if len(attempts) == 1:
            raise ValueError("once")

    async with opened(broker, Appending(fails_once), retry_backoff_s=0.0) as owner:
        owner.feed([raw(0)])
        await until(lambda: [out.topic for out, _ in broker.sent] == ["told", "told", "out"])
        broker.deliver()
        await until(lambda: owner.log.position == 1)
