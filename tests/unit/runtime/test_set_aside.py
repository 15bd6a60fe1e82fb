"""A record that has to wait, in a whole partition: what others may do, what is committed, and what a rebalance does to it."""

from __future__ import annotations

import asyncio

import pytest

from streams.runtime.model import Record, SetAside, Step
from tests.unit.runtime.fakes import FakeBroker, raw
from tests.unit.runtime.test_partition import Appending, opened, turns, until


class Waiting:
    """Its first record cannot be handled before `arrived`."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()

    async def __call__(self, record: Record, step: Step[str]) -> None:
        if record.value == b"w" and not step.waited:
            raise SetAside(self.arrived.wait)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_others_are_handled_and_nothing_after_it_is_committed_until_it_is_through(concurrency: int):
    broker, waiting = FakeBroker(), Waiting()
    processor = Appending(waiting)
    async with opened(broker, processor, commit_interval_s=0, concurrency=concurrency) as owner:
        owner.feed([raw(0, "w", "late"), raw(1, "x", "late"), raw(2, "y", "other"), raw(3, "z", "third")])
        await until(lambda: sorted(processor.handled) == [2, 3])
        broker.deliver()
        await turns()
        assert (broker.commits, owner.status().position) == ([], 0)
        waiting.arrived.set()
        await until(lambda: len(processor.handled) == 4)
        assert [offset for offset in processor.handled if offset < 2] == [0, 1], "its own key stays in order"
        broker.deliver()
        await until(lambda: bool(broker.commits))
        await turns()
        assert broker.commits[-1][0] == 4
        written = {key: value for _, writes in broker.commits for key, value in writes.items()}
        assert written == {b"late": b"wx", b"other": b"y", b"third": b"z"}


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_rebalance_does_not_wait_for_it_and_it_is_handled_once_if_the_partition_stays(concurrency: int):
    broker, waiting = FakeBroker(), Waiting()
    processor = Appending(waiting)
    async with opened(broker, processor, concurrency=concurrency) as owner:
        owner.feed([raw(0, "w", "late"), raw(1, "y", "other")])
        await until(lambda: processor.handled == [1])
        broker.deliver()
        async with asyncio.timeout(5):
            await owner.hold(patience_s=60)
        waiting.arrived.set()
        await turns()
        assert processor.handled == [1], "while the group rebalances no further record is begun"
        owner.go_on()
        await until(lambda: processor.handled == [1, 0])
    assert broker.failures == []


async def test_a_partition_that_is_taken_away_leaves_it_to_the_next_owner():
    broker, waiting = FakeBroker(), Waiting()
    processor = Appending(waiting)
    async with opened(broker, processor) as owner:
        owner.feed([raw(0, "w", "late"), raw(1, "y", "other")])
        await until(lambda: processor.handled == [1])
        broker.deliver()
        async with asyncio.timeout(5):
            await owner.drain(deadline_s=60)
    assert [position for position, _ in broker.commits if position is not None] == []
    assert broker.failures == []
