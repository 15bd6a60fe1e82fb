"""Who owns a partition: fencing, rebalance, what a former owner can still do (nothing that counts)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streams.runtime import Fenced, Outgoing, Record, RuntimeFailed, Step
from streams.runtime.commits import TransactionalCommits
from streams.runtime.noted import KEY as NOTE
from tests.integration.runtime_world import World, a_world, at_work, begin, crash, partition_of, until

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


@asynccontextmanager
async def taken_over(world: World) -> AsyncIterator[None]:
    """What a new owner does first: from here on every commit of the old one is refused."""
    owner = TransactionalCommits(world.settings(), partition_of(world, 0))
    await owner.open()
    try:
        yield
    finally:
        await owner.close()


async def test_a_former_owner_cannot_commit_and_stops_at_the_first_refusal(world: World):
    await world.create()
    runtime = world.runtime(world.appending())
    running = await begin(runtime)
    await world.send("a")
    await world.until_committed({0: 1})
    async with taken_over(world):
        await world.send("b")
        await until(lambda: runtime.status()[0].phase == "lost")
        assert await world.committed() == {0: 1}
        assert await world.states() == {"k": "a"}
        await crash(running)


async def test_a_partition_that_was_fenced_and_that_the_group_has_left_here_is_opened_again(world: World):
    """A request of our own that a frozen coordinator carries out late is such a fence: nobody else has come."""
    await world.create()
    runtime = world.runtime(world.appending(), session_timeout_ms=1_000)
    async with at_work(runtime):
        await world.send("a")
        await world.until_committed({0: 1})
        async with taken_over(world):
            await world.send("b")
            await world.until_committed({0: 2})
    assert await world.states() == {"k": "ab"}
    assert (await world.values("out")).count("b") <= 2  # published, then refused, then decided again


async def test_a_process_whose_partition_is_taken_again_and_again_ends_with_the_reason(world: World):
    """The group leaves the partition here, so two groups must share a name."""
    await world.create()
    runtime = world.runtime(world.appending(), session_timeout_ms=500)
    running = await begin(runtime)

    async def take() -> None:
        while True:
            await until(lambda: runtime.is_ready)
            async with taken_over(world):
                await world.send("a")
                await until(lambda: not runtime.is_ready)

    taking = asyncio.ensure_future(take())
    with pytest.raises(RuntimeFailed, match=r"has a new owner.* 4 times lately: does another deployment use its name"):
        await running
    taking.cancel()


async def test_a_fenced_owner_cannot_start_an_action_even_if_its_handler_swallows_the_refusal(world: World):
    """Its intent is refused, and what the handler then makes of it is not published."""
    await world.create()
    began, go_on, refusals = asyncio.Event(), asyncio.Event(), []

    class Acting:
        async def handle(self, record: Record, step: Step[str]) -> None:
            began.set()
            await go_on.wait()
            try:
                await step.journal("k", "intent")
            except Fenced as error:
                refusals.append(error)
            step.publish(Outgoing(world.topic("out"), b"k", b"acted"))

    await world.send("a")
    running = await begin(world.runtime(Acting()))
    await began.wait()
    async with taken_over(world):
        go_on.set()
        await until(lambda: len(refusals) == 1)
        await crash(running)
    assert await world.values("out") == []


async def test_a_new_owner_ends_the_open_transaction_of_the_old_one(world: World):
    await world.create()
    await world.send("a")
    old = TransactionalCommits(world.settings(), partition_of(world, 0))
    await old.open()
    await old._producer.begin_transaction()
    await (await old._producer.send(world.topic("state"), b"half", key=b"k"))
    async with at_work(world.runtime(world.appending())) as _:
        await world.until_committed({0: 1})
    assert await world.states() == {"k": "a"}
    await old.close()


async def test_partitions_move_between_two_members_and_no_state_is_lost_or_counted_twice(world: World):
    """One member works, a second joins, the first leaves; records keep coming. Each key's state has each value once, in order."""
    await world.create(partitions=4)
    first, second = world.runtime(world.appending()), world.runtime(world.appending())

    async def send_round(value: str) -> None:
        for number in range(8):
            await world.send(value, key=f"k{number}", partition=number % 4)

    running_first = await begin(first)
    assert len(first.status()) == 4
    await send_round("a")
    running_second = await begin(second)
    await send_round("b")
    await until(lambda: len(first.status()) == len(second.status()) == 2 and first.is_ready and second.is_ready)
    assert {status.partition for status in first.status()} | {status.partition for status in second.status()} == set(range(4))
    await send_round("c")
    await first.stop()
    await running_first
    await send_round("d")
    await until(lambda: len(second.status()) == 4 and second.is_ready)
    await world.until_committed(dict.fromkeys(range(4), 8))
    assert await world.states() == {f"k{number}": "abcd" for number in range(8)}
    await second.stop()
    await running_second


async def test_a_partition_that_stays_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch):
    await world.create(partitions=2)
    from streams.runtime import runtime as module

    starts: list[tuple[int, int]] = []
    restore = module.restore

    async def counted(settings, source, start, load, progress):
        loaded: list[bytes | None] = []

        def count(key: bytes | None, value: bytes | None) -> int:
            if key != NOTE:
                loaded.append(key)
            return load(key, value)

        end = await restore(settings, source, start, count, progress)
        starts.append((source.partition, len(loaded)))
        return end

    monkeypatch.setattr(module, "restore", counted)
    first = world.runtime(world.appending())
    running_first = await begin(first)
    for number in range(20):
        await world.send("a", key=f"k{number}", partition=number % 2)
    await world.until_committed({0: 10, 1: 10})
    starts.clear()
    processor = world.appending()
    async with at_work(world.runtime(processor)):
        await until(lambda: len(first.status()) == 1 and first.is_ready)
        [kept] = [status.partition for status in first.status()]
        assert starts == [(1 - kept, 10)]  # by the second; the first has held the other one
        await world.send("b", key="k0", partition=kept)
        await world.until_committed({kept: 11, 1 - kept: 10})
    await until(lambda: len(first.status()) == 2 and first.is_ready)
    await first.stop()
    await running_first


async def test_a_begun_record_goes_on_through_a_rebalance_where_its_partition_stays(world: World):
    """A model call of a minute is not made again because a colleague came or went; where the partition moves, it is."""
    await world.create(partitions=2)
    begun: list[int] = []
    release = asyncio.Event()

    async def wait(record: Record, step: Step[str]) -> None:
        begun.append(record.partition)
        await release.wait()

    first = world.runtime(world.appending(before=wait), rebalance_patience_s=0.05)
    running_first = await begin(first)
    for partition in (0, 1):
        await world.send("a", key=f"k{partition}", partition=partition)
    await until(lambda: sorted(begun) == [0, 1])
    second = world.runtime(world.appending())
    running_second = await begin(second)
    await until(lambda: len(first.status()) == 1 and first.is_ready)
    [kept] = [status.partition for status in first.status()]
    await world.until_committed({1 - kept: 1})
    release.set()
    await world.until_committed({0: 1, 1: 1})
    await world.send("b", key=f"k{kept}", partition=kept)
    await world.until_committed({kept: 2, 1 - kept: 1})
    assert begun.count(kept) == 2  # one for each value
    assert await world.states() == {f"k{kept}": "ab", f"k{1 - kept}": "a"}
    for runtime, task in ((first, running_first), (second, running_second)):
        await runtime.stop()
        await task


async def test_revocation_drains_a_begun_record_before_the_partition_moves(world: World):
    await world.create(partitions=2)
    begun, release = asyncio.Event(), asyncio.Event()

    async def wait_once(record: Record, step: Step[str]) -> None:
        if not release.is_set():
            begun.set()
            await release.wait()

    first, second = world.runtime(world.appending(before=wait_once)), world.runtime(world.appending())
    running = await begin(first)
    await world.send("a", partition=0)
    await begun.wait()
    joining = asyncio.create_task(begin(second))
    await until(lambda: first.status()[0].phase == "holding")
    release.set()
    running_second = await joining
    await world.until_committed({0: 1})
    assert await world.values("out") == ["a"]
    for runtime, task in ((first, running), (second, running_second)):
        await runtime.stop()
        await task


async def test_opened_may_publish_and_closed_is_told_once_no_handler_runs(world: World):
    await world.create()

    class Timed:
        closed_with: int | None = None
        handling = 0

        async def handle(self, record: Record, step: Step[str]) -> None:
            self.handling += 1
            await asyncio.sleep(0.05)
            step.put("k", "handled")
            self.handling -= 1

        def opened(self, partition) -> None:
            partition.publish(Outgoing(world.topic("in"), b"k", b"timer", partition=partition.partition))

        def closed(self, partition: int) -> None:
            assert self.handling == 0
            self.closed_with = partition

    processor = Timed()
    async with at_work(world.runtime(processor)):
        await world.until_committed({0: 1})
    assert processor.closed_with == 0


async def test_one_publisher_may_serve_several_runtimes(world: World):
    await world.create(names=("in", "out", "state", "dead", "more"))

    class Passing:
        async def handle(self, record: Record, step: Step[str]) -> None:
            step.publish(Outgoing(world.topic("more"), record.key, record.value))

    from streams.runtime import Runtime
    from tests.integration.runtime_world import TextCodec, dead_letter_to

    dead = dead_letter_to(world.topic("dead"))
    one = Runtime(world.settings(), world.appending(), TextCodec(), dead, publisher=world.publisher)
    passing = world.settings(group=world.topic("passing"), topics=(world.topic("out"),), changelogs={})
    other: Runtime[str] = Runtime(passing, Passing(), None, dead, publisher=world.publisher)
    async with at_work(one), at_work(other):
        await world.send("a", "b")
        assert await world.until_values("more", 2) == ["a", "ab"]
    await world.send("the publisher still works")


async def test_a_partition_that_is_slow_to_open_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch):
    """aiokafka fetches nothing from a broker while it looks for the position of one partition that is there."""
    await world.create(partitions=2)
    fence, may_open = TransactionalCommits.open, asyncio.Event()

    async def slow(self: TransactionalCommits) -> None:
        if self._source.partition == 1:
            await may_open.wait()
        await fence(self)

    monkeypatch.setattr(TransactionalCommits, "open", slow)
    appending = world.appending()
    runtime = world.runtime(appending, commit_interval_s=0.01)
    running = asyncio.create_task(runtime.run())
    for partition in (0, 1):
        await world.send("a", key=f"k{partition}", partition=partition)
    await until(lambda: appending.handled == [(0, "a")])
    assert not runtime.is_ready
    may_open.set()
    await runtime.ready()
    await world.until_committed({0: 1, 1: 1})
    await runtime.stop()
    await running
