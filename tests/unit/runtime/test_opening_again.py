"""A partition that is lost though the group leaves it here is opened again; not for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import TopicPartition

from streams.runtime import Fenced, Interrupted, Record, Runtime, RuntimeFailed, RuntimeSettings, Step
from streams.runtime.partition import PartitionOwner
from streams.runtime.store import StateStore
from streams.runtime.surroundings import Surroundings
from tests.support.at_once import at_once
from tests.unit.runtime.fakes import SOURCE, FakeBroker, TextCodec, dead_letter, raw

SESSION_S = 3.0
FENCED = Fenced("group-in-0 has a new owner: this one may not commit any more")
INTERRUPTED = Interrupted("group-in-0 could not commit (its coordinator was gone)")


class Appending:
    async def handle(self, record: Record, step: Step[str]) -> None:
        step.put("k", (step.get("k") or "") + (record.value or b"").decode())


class Lonely:
    """A runtime whose group gives it one partition and never takes it away."""

    generation = 1

    def __init__(self) -> None:
        self.broker = FakeBroker()
        settings = RuntimeSettings("nowhere:0", "group", ("in",), {"in": "state"}, commit_interval_s=0.01)
        self.runtime: Runtime[str] = Runtime(settings, Appending(), TextCodec(), dead_letter)
        self.failure = self.runtime._failure = asyncio.get_running_loop().create_future()
        member: Any = self
        self.runtime._member = member
        publisher: Any = self.broker
        around = Surroundings(
            settings,
            Appending(),
            publisher,
            dead_letter,
            self.broker,
            self.runtime._opened,
            self.runtime._lost,
            self.runtime._fail,
        )
        self.opened: list[PartitionOwner[str]] = []

        def owner_of(tp: TopicPartition) -> PartitionOwner[str]:
            self.opened.append(PartitionOwner(tp, around, self.broker, StateStore(TextCodec()), self.broker.restore))
            return self.opened[-1]

        self.runtime._owner_of = owner_of  # type: ignore[method-assign]

    # the member

    async def asked(self, partitions: Any) -> None: ...

    def set_aside(self, partition: TopicPartition) -> None: ...

    # what happens

    def feed(self, offset: int, value: str) -> None:
        self.runtime._owners[SOURCE].feed([raw(offset, value)])

    async def lose(self, error: Exception) -> float:
        """The next commit is refused; returns how long it takes until the partition is open again."""
        clock = asyncio.get_running_loop()
        before = len(self.opened)
        self.broker.refuse = error
        self.feed(1, "b")
        await asyncio.sleep(0.1)
        self.broker.refuse = None
        assert not self.runtime.is_ready
        began = clock.time()
        while not self.failure.done() and (len(self.opened) == before or not self.runtime.is_ready):
            await asyncio.sleep(0.01)
        return clock.time() - began


async def lonely() -> Lonely:
    made = Lonely()
    made.runtime._assigned({SOURCE})
    await asyncio.sleep(0.1)
    assert made.runtime.is_ready
    made.feed(0, "a")
    await asyncio.sleep(0.1)
    made.broker.committed_position = 1
    return made


def test_a_partition_whose_producer_has_failed_is_opened_again_at_once_and_its_record_is_handled_again():
    """From the fence on, as by any new owner: what was not committed is read again. It ended the process."""

    async def story() -> tuple[float, Any, Any]:
        world = await lonely()
        took_s = await world.lose(INTERRUPTED)
        order = world.broker.happened[world.broker.happened.index("close") :]
        world.feed(1, "b")
        await asyncio.sleep(0.1)
        return took_s, order, world.broker.commits[-1]

    took_s, order, committed = at_once(story())
    assert took_s < SESSION_S / 2
    assert [step for step in order if step in ("close", "fence", "read committed position", "restore", "resume")] == [
        "close",
        "fence",
        "read committed position",
        "restore",
        "resume",
    ]
    assert committed == (2, {b"k": b"b"})


def test_a_partition_that_was_fenced_waits_for_the_group_to_give_it_to_the_other_one_first():
    async def story() -> tuple[float, bool]:
        world = await lonely()
        return await world.lose(FENCED), world.failure.done()

    took_s, failed = at_once(story())
    assert SESSION_S / 2 < took_s < 2 * SESSION_S
    assert not failed


def test_a_partition_that_is_given_away_meanwhile_is_not_opened_again():
    async def story() -> int:
        world = await lonely()
        world.broker.refuse = FENCED
        world.feed(1, "b")
        await asyncio.sleep(0.1)
        await world.runtime._revoked({SOURCE})
        await asyncio.sleep(2 * SESSION_S)
        return len(world.opened)

    assert at_once(story()) == 1


def test_a_partition_that_is_lost_again_and_again_ends_the_process_with_the_reason():
    async def story() -> tuple[int, BaseException | None]:
        world = await lonely()
        while not world.failure.done():
            await world.lose(FENCED)
        return len(world.opened), world.failure.exception()

    opened, failure = at_once(story())
    assert opened == 4
    assert isinstance(failure, RuntimeFailed)
    assert "does another deployment use its name?" in str(failure)


def test_what_was_lost_long_ago_is_forgiven():
    async def story() -> bool:
        world = await lonely()
        for _ in range(6):
            await world.lose(FENCED)
            await asyncio.sleep(400)
        return world.failure.done()

    assert not at_once(story())
