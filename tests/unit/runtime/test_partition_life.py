"""What a partition does besides handling records: it waits, gives way, tries again, closes and says how it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.runtime import Fenced, Outgoing, Record, Step, Unavailable
from streams.runtime import handling as handling_module
from streams.runtime.broker.arrived import LARGE
from streams.runtime.model import Unreadable
from tests.unit.runtime.fakes import SOURCE, FakeBroker, owner_of, raw
from tests.unit.runtime.test_partition import Appending, opened, turns, until


class Stuck:
    """Handlers that never end; notes what was closed."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.shut: list[int] = []

    async def handle(self, record: Record, step: Step[str]) -> None:
        self.begun.append(record.offset)
        await asyncio.Event().wait()

    def closed(self, partition: int) -> None:
        self.shut.append(partition)


class Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.attempts = 0

    async def handle(self, record: Record, step: Step[str]) -> None:
        self.attempts += 1
        raise self.error


async def test_nothing_is_opened_before_the_former_owner_in_this_process_has_ended():
    broker, ended = FakeBroker(), asyncio.get_running_loop().create_future()
    owner = owner_of(broker, Appending())
    owner.start(ended)
    await turns()
    assert broker.happened == []
    ended.set_result(None)
    await until(lambda: not broker.paused)
    await owner.abort()


async def test_the_fence_is_held_by_committing_where_the_former_owner_stood():
    broker = FakeBroker(committed_position=7)
    async with opened(broker, Appending()):
        assert broker.commits == [(7, {})]


async def test_who_is_fenced_while_it_opens_handles_nothing():
    broker, processor = FakeBroker(committed_position=7, refuse=Fenced("somebody else has it")), Appending()
    owner = owner_of(broker, processor)
    owner.start()
    await until(lambda: "lost" in broker.happened)
    owner.feed([raw(7)])
    await turns()
    assert broker.paused
    assert processor.handled == []
    await owner.abort()


async def test_records_that_nobody_has_begun_pause_the_partition_at_the_bound():
    broker = FakeBroker()
    async with opened(broker, Stuck(), max_in_flight=3) as owner:
        owner.feed([raw(0), raw(1)])
        await turns()
        assert not broker.paused
        owner.feed([raw(2), raw(3)])
        assert broker.paused


async def test_records_whose_outputs_are_on_their_way_pause_the_partition_at_the_bound():
    broker = FakeBroker()
    async with opened(broker, Appending(), max_in_flight=3) as owner:
        for offset in range(3):
            assert not broker.paused
            owner.feed([raw(offset)])
            await turns()
        owner.feed([raw(3)])
        assert broker.paused


async def test_a_paused_partition_goes_on_when_half_of_its_backlog_is_begun():
    broker = FakeBroker()
    async with opened(broker, Appending(), max_in_flight=4) as owner:
        owner.feed([raw(offset) for offset in range(10)])
        await turns()
        broker.deliver()
        assert broker.paused  # six wait
        await turns()
        broker.deliver()
        assert not broker.paused  # two wait


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_held_partition_begins_nothing_and_goes_on_where_it_stood(concurrency: int):
    broker, processor = FakeBroker(), Appending()
    async with opened(broker, processor, concurrency=concurrency) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(broker.sent))
        broker.deliver()
        await owner.hold(0.01)
        assert owner.phase == "holding"
        owner.feed([raw(1)])
        await turns()
        assert processor.handled == [0]
        owner.go_on()
        assert broker.happened[-1] == "seek 1"
        owner.feed([raw(1)])
        await until(lambda: processor.handled == [0, 1])


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_what_was_fed_before_a_partition_was_held_is_begun_when_it_goes_on(concurrency: int):
    broker, release = FakeBroker(), asyncio.Event()

    async def wait(record: Record, step: Step[str]) -> None:
        await release.wait()

    processor = Appending(wait)
    async with opened(broker, processor, concurrency=concurrency) as owner:
        owner.feed([raw(0), raw(1)])
        await turns()
        await owner.hold(0)
        release.set()
        await turns()
        assert processor.handled == [0]
        owner.go_on()
        await until(lambda: processor.handled == [0, 1])


async def test_a_paused_partition_that_goes_on_stays_paused():
    broker = FakeBroker()
    async with opened(broker, Stuck(), max_in_flight=1) as owner:
        owner.feed([raw(0), raw(1)])
        await owner.hold(0)
        broker.paused = False  # as every assignment leaves it
        owner.go_on()
        assert broker.paused


async def test_who_is_fenced_while_it_holds_closes():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=3600) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(broker.sent))
        broker.deliver()
        broker.refuse = Fenced("somebody else has it")
        await owner.hold(1)
        assert owner.phase == "lost"
        assert broker.happened[-1] == "close"


async def test_closing_gives_up_a_drain_that_would_take_longer():
    broker, processor = FakeBroker(), Stuck()
    async with opened(broker, processor) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(processor.begun))
        draining = asyncio.create_task(owner.drain(3600))
        await turns()
        assert owner.phase == "draining"
        async with asyncio.timeout(5):
            await owner.abort()
            await draining
    assert broker.commits == []


async def test_closing_tells_the_processor_and_ends_the_commits_once():
    broker, processor = FakeBroker(), Stuck()
    async with opened(broker, processor) as owner:
        await owner.abort()
        await owner.abort()
        assert owner.phase == "closed"
    assert processor.shut == [SOURCE.partition]
    assert broker.happened.count("close") == 1


async def test_what_was_drained_tells_the_failure_that_ended_it():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=3600) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(broker.sent))
        broker.deliver()
        broker.refuse = OSError("the network is gone")
        with pytest.raises(OSError, match="gone"):
            await owner.drain(1)


async def test_a_lost_partition_is_lost_once_and_stays_so():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=0) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(broker.sent))
        broker.refuse = Fenced("somebody else has it")
        broker.deliver()
        await until(lambda: "lost" in broker.happened)
        await turns()
        assert broker.happened.count("lost") == 1
        await owner.abort()
        assert owner.phase == "lost"


async def test_what_every_record_needs_and_is_gone_stops_the_process_and_passes_no_record():
    broker = FakeBroker()
    gone = Unavailable("the database is gone")
    async with opened(broker, Failing(gone), commit_interval_s=0) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(broker.failures))
        await turns()
        assert broker.failures == [gone]
    assert broker.commits == []


async def test_a_handler_is_tried_again_after_waits_that_double_and_then_its_record_is_buried(monkeypatch: pytest.MonkeyPatch):
    broker, processor, waits = FakeBroker(), Failing(ValueError("no")), []
    sleep = asyncio.sleep

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    async with opened(broker, processor, max_attempts=4, retry_backoff_s=0.5) as owner:
        monkeypatch.setattr(handling_module.asyncio, "sleep", wait)
        owner.feed([raw(0)])
        async with asyncio.timeout(5):
            while not broker.sent:
                await sleep(0)
        monkeypatch.undo()
        assert [seconds for seconds in waits if seconds] == [0.5, 1.0, 2.0]
        assert processor.attempts == 4
        assert b"handler_failed: ValueError: no" in (broker.sent[0][0].value or b"")


async def test_a_cancellation_that_slips_out_of_a_handler_is_a_failure_like_any_other():
    broker, processor = FakeBroker(), Failing(asyncio.CancelledError())
    async with opened(broker, processor, max_attempts=2, retry_backoff_s=0) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(broker.sent))
        assert processor.attempts == 2
        assert broker.failures == []


async def test_a_handler_that_is_cut_off_buries_nothing():
    broker, processor = FakeBroker(), Stuck()
    async with opened(broker, processor, max_attempts=1) as owner:
        owner.feed([raw(0)])
        await until(lambda: bool(processor.begun))
    assert broker.sent == []
    assert broker.failures == []


async def test_what_topics_would_refuse_is_refused_where_it_is_published():
    broker, sent = FakeBroker(), []

    def check(out: Outgoing) -> None:
        raise ValueError("too large")

    broker.check = check  # type: ignore[method-assign]

    class Publishing:
        async def handle(self, record: Record, step: Step[str]) -> None:
            for send in (step.publish, step.tell):
                with pytest.raises(ValueError, match="too large"):
                    send(Outgoing("out", b"k", b"v"))
            sent.append(record.offset)

    async with opened(broker, Publishing()) as owner:
        owner.feed([raw(0)])
        await until(lambda: sent == [0])
        assert broker.sent == []


async def test_a_large_record_that_is_through_counts_no_more_though_one_before_it_is_at_work():
    broker, processor = FakeBroker(), Stuck()

    async def wait(record: Record, step: Step[str]) -> None:
        if record.offset == 0:
            await processor.handle(record, step)

    async with opened(broker, Appending(wait), concurrency=2) as owner:
        owner.feed([raw(0, "a", key="slow"), raw(1, "b" * LARGE, key="large")])
        await until(lambda: bool(broker.sent))
        broker.deliver()
        assert f"1 is through with {LARGE} bytes" in broker.happened
        assert owner.log.position == 0


async def test_what_stands_for_records_nobody_can_read_is_buried_without_being_handled():
    broker, processor = FakeBroker(), Appending()
    async with opened(broker, processor) as owner:
        owner.feed([raw(0), Unreadable("in", 0, 7, 0, None, None, (), "the batch of the offsets 1 to 7 cannot be read"), raw(8)])
        await until(lambda: processor.handled == [0, 8])
        letter = next(out.value for out, _ in broker.sent if out.topic == "dead")
        assert letter == b"batch_unreadable: the batch of the offsets 1 to 7 cannot be read"
        broker.deliver()
        assert owner.log.position == 9


async def test_the_status_says_how_far_it_is_and_what_is_left():
    broker = FakeBroker(committed_position=7)
    async with opened(broker, Appending(), commit_interval_s=3600) as owner:
        assert (owner.status().position, owner.status().lag) == (7, None)
        broker.end = lambda partition: 12  # type: ignore[method-assign]
        owner.feed([raw(7), raw(8)])
        await until(lambda: len(broker.sent) == 2)
        assert (owner.status().position, owner.status().in_flight, owner.status().lag) == (7, 2, 5)
        broker.deliver()
        assert (owner.status().position, owner.status().in_flight, owner.status().lag) == (9, 0, 3)
        await owner.drain(1)
        assert owner.status().lag is None


async def test_a_partition_that_gives_way_begins_no_record_early():
    broker = FakeBroker()
    begins: list[Any] = []
    broker.early = lambda partition, begin: begins.append(begin)  # type: ignore[method-assign]
    async with opened(broker, Stuck(), concurrency=4, early=True) as owner:
        begin = begins[0]
        assert begin(Outgoing("in", None, b"no key", partition=0)) is None
        assert begin(Outgoing("in", b"a", b"1", partition=0)) is not None
        await owner.hold(0)
        assert begin(Outgoing("in", b"b", b"2", partition=0)) is None
        owner.go_on()
        assert begin(Outgoing("in", b"b", b"2", partition=0)) is not None
        draining = asyncio.create_task(owner.drain(3600))
        await turns()
        assert begin(Outgoing("in", b"c", b"3", partition=0)) is None
    await draining
    assert begins[-1] is None


async def test_no_more_is_begun_early_than_the_bound_allows():
    broker = FakeBroker()
    begins: list[Any] = []
    broker.early = lambda partition, begin: begins.append(begin)  # type: ignore[method-assign]
    async with opened(broker, Appending(), concurrency=9, early=True, max_in_flight=2, commit_interval_s=3600):
        begin = begins[0]
        first, second = (begin(Outgoing("in", key, b"v", partition=0)) for key in (b"a", b"b"))
        assert begin(Outgoing("in", b"c", b"v", partition=0)) is None
        await until(lambda: len(broker.sent) == 2)
        for offset, begun in enumerate((first, second)):
            begun.offset = offset
            begun.place()
        assert begin(Outgoing("in", b"c", b"v", partition=0)) is None
        broker.deliver()
        assert begin(Outgoing("in", b"c", b"v", partition=0)) is not None
