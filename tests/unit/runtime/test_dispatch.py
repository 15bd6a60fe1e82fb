"""Order and concurrency of one partition's records."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from streams.runtime.dispatch import dispatch
from streams.runtime.effects import EffectsLog, Entry
from streams.runtime.model import Record, Until
from streams.runtime.store import StateStore
from tests.unit.runtime.fakes import TextCodec, raw


class Desk:
    """Handles records for random times; notes what overlapped."""

    def __init__(self, seed: int, *, bound: int, concurrency: int) -> None:
        self.log: EffectsLog[str] = EffectsLog(StateStore(TextCodec()))
        self.log.begin(0)
        self.tasks: set[asyncio.Task[None]] = set()
        self.dice = random.Random(seed)
        self.begun: dict[bytes | None, list[int]] = defaultdict(list)
        self.at_work: list[bytes | None] = []
        self.most = 0
        self.waits: dict[int, asyncio.Event] = {}
        """Offset → what its record waits for, before it can be handled."""
        self.dispatch = dispatch(self.log, self._handle, self._spawn, bound=bound, concurrency=concurrency)

    async def _handle(self, record: Record, entry: Entry[str]) -> Until | None:
        if record.offset in self.waits and not entry.waited:
            entry.waited = True
            return self.waits[record.offset].wait
        assert record.key is None or record.key not in self.at_work, "two records of one key at once"
        self.begun[record.key].append(record.offset)
        self.at_work.append(record.key)
        self.most = max(self.most, len(self.at_work))
        for _ in range(self.dice.randrange(5)):
            await asyncio.sleep(0)
        self.at_work.remove(record.key)
        if self.log.settle(entry):
            self.dispatch.room()
        return None

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for ended in await asyncio.gather(*self.tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError), ended


@pytest.mark.parametrize("concurrency", [1, 2, 7])
@pytest.mark.parametrize("seed", range(10))
async def test_every_record_is_handled_once_in_order_per_key_and_within_the_bounds(seed: int, concurrency: int):
    desk = Desk(seed, bound=9, concurrency=concurrency)
    expected: dict[bytes | None, list[int]] = defaultdict(list)
    offset = 0
    while offset < 200:
        burst = []
        for _ in range(desk.dice.randrange(1, 30)):
            key = desk.dice.choice([None, "a", "b", "c", "d", "e", "f", "g", "h"])
            burst.append(raw(offset, key=key))
            expected[None if key is None else key.encode()].append(offset)
            offset += desk.dice.randrange(1, 3)
        desk.dispatch.feed(burst)
        assert desk.log.in_flight <= 9
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while desk.log.in_flight or desk.dispatch.backlog:
            await asyncio.sleep(0)
    await desk.end()
    expected_of_none, begun_of_none = expected.pop(None), desk.begun.pop(None)
    assert sorted(begun_of_none) == expected_of_none
    assert desk.begun == expected
    assert desk.most <= concurrency
    assert concurrency == 1 or desk.most > 1


@pytest.mark.parametrize("concurrency", [1, 2, 7])
@pytest.mark.parametrize("seed", range(10))
async def test_records_that_wait_hold_up_their_own_key_alone_and_keep_its_order(seed: int, concurrency: int):
    desk = Desk(seed, bound=60, concurrency=concurrency)
    keys = [desk.dice.choice("abcdefgh") for _ in range(50)]
    waiting = desk.dice.sample(range(50), 6)
    desk.waits = {offset: asyncio.Event() for offset in waiting}
    held = {keys[offset]: min(at for at in waiting if keys[at] == keys[offset]) for offset in waiting}
    free = [offset for offset in range(50) if offset < held.get(keys[offset], 50)]
    desk.dispatch.feed([raw(offset, key=keys[offset]) for offset in range(50)])
    await until(lambda: sum(map(len, desk.begun.values())) == len(free))
    assert desk.log.position == min(waiting), "the position stays before the first that waits"
    for offset in desk.dice.sample(waiting, 6):
        desk.waits[offset].set()
        for _ in range(desk.dice.randrange(6)):
            await asyncio.sleep(0)
    await until(lambda: not (desk.log.in_flight or desk.dispatch.backlog))
    await desk.end()
    assert desk.log.position == 50
    assert desk.begun == {key.encode(): [at for at in range(50) if keys[at] == key] for key in set(keys)}


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_what_waited_is_not_begun_while_a_rebalance_holds_the_partition_or_after_its_end(concurrency: int):
    desk = Desk(0, bound=9, concurrency=concurrency)
    desk.waits = {0: asyncio.Event()}
    desk.dispatch.feed([raw(0, key="a")])
    for _ in range(5):
        await asyncio.sleep(0)
    desk.dispatch.hold()
    desk.waits[0].set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not desk.begun
    desk.dispatch.go_on()
    await until(lambda: desk.begun == {b"a": [0]})
    await desk.end()


async def test_no_more_than_the_bound_is_taken_up_beside_a_record_that_waits():
    desk = Desk(0, bound=9, concurrency=1)
    desk.waits = {0: asyncio.Event()}
    desk.dispatch.feed([raw(offset, key=f"k{offset}") for offset in range(30)])
    for _ in range(200):
        await asyncio.sleep(0)
    assert (desk.log.in_flight, desk.dispatch.backlog) == (9, 21)
    desk.waits[0].set()
    await until(lambda: not desk.log.in_flight and not desk.dispatch.backlog)
    await desk.end()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_after_stop_no_further_record_is_begun(concurrency: int):
    desk = Desk(0, bound=100, concurrency=concurrency)
    desk.dispatch.feed([raw(offset, key=f"k{offset}") for offset in range(50)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    desk.dispatch.stop()
    begun = sum(map(len, desk.begun.values()))
    assert 0 < begun < 50
    for _ in range(30):
        await asyncio.sleep(0)
    assert sum(map(len, desk.begun.values())) == begun
    await desk.end()
