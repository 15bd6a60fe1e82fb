"""An action is not cut off by a rebalance: one that was begun is waited for, another does not begin before it is over."""

from __future__ import annotations

import asyncio
from typing import Any

from streams.runtime import Record, Step
from streams.runtime.partition import PartitionOwner
from tests.unit.runtime.fakes import FakeBroker, owner_of, raw


async def opened(processor: Any, **settings: Any) -> PartitionOwner[str]:
    """At work, with one record begun."""
    broker = FakeBroker()
    owner = owner_of(broker, processor, **settings)
    owner.start()
    while "open" not in broker.happened:
        await asyncio.sleep(0)
    owner.feed([raw(0)])
    await turns()
    return owner


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


class Acting:
    """Works until told to act, acts until told to stop, works until told to end."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.act, self.stop, self.end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(self, record: Record, step: Step[str]) -> None:
        self.happened.append("began")
        await self.act.wait()
        await step.act()
        self.happened.append("acts")
        await self.stop.wait()
        step.acted()
        self.happened.append("acted")
        await self.end.wait()


async def test_a_rebalance_waits_for_an_action_and_not_for_what_comes_after_it():
    processor = Acting()
    processor.act.set()
    owner = await opened(processor)
    assert processor.happened == ["began", "acts"]
    holding = asyncio.create_task(owner.hold(0.0))
    await turns()
    assert not holding.done()
    processor.stop.set()
    await holding
    assert owner.phase == "holding"
    assert processor.happened == ["began", "acts", "acted"], "the record is still being handled"
    await owner.abort()


async def test_no_action_begins_while_a_rebalance_is_on():
    processor = Acting()
    owner = await opened(processor)
    await owner.hold(0.0)
    processor.act.set()
    await turns()
    assert processor.happened == ["began"]
    owner.go_on()
    await turns()
    assert processor.happened == ["began", "acts"], "the partition has stayed: it goes on"
    await owner.abort()


async def test_a_partition_that_moves_away_cuts_off_no_action_that_waits():
    processor = Acting()
    owner = await opened(processor)
    await owner.hold(0.0)
    processor.act.set()
    await owner.abort()
    assert processor.happened == ["began"]


async def test_an_action_that_takes_too_long_holds_up_a_rebalance_no_longer_than_its_patience():
    processor = Acting()
    processor.act.set()
    owner = await opened(processor, action_patience_s=0.02)
    await owner.hold(0.0)
    assert owner.phase == "holding"
    await owner.abort()


async def test_an_action_ends_with_its_handler():
    class Failing:
        async def handle(self, record: Record, step: Step[str]) -> None:
            await step.act()
            raise ValueError("before it said that it had acted")

    owner = await opened(Failing(), max_attempts=1)
    await asyncio.wait_for(owner.hold(0.0), 1.0)
    assert owner._acts._count == 0
    await owner.abort()
