"""A standby reads along what others own: a takeover then reads only what it missed, and is opened in the same order as ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import streams.runtime.runtime as runtime_module
from streams.runtime import Runtime, progress
from streams.runtime.standby import Standby
from tests.integration.runtime_world import TextCodec, World, a_world, at_work, begin, crash, dead_letter_to, until

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


def standby_of(runtime: Runtime[str]) -> Standby[str]:
    assert runtime._standby is not None
    return runtime._standby


@pytest.fixture
def restored_from(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The changelog offset at which each restore of this process began."""
    offsets: list[int] = []
    restore = runtime_module.restore

    async def noting(settings: Any, source: Any, start: int, *rest: Any) -> int:
        offsets.append(start)
        return await restore(settings, source, start, *rest)

    monkeypatch.setattr(runtime_module, "restore", noting)
    return offsets


async def test_a_takeover_by_a_standby_reads_only_what_it_missed_and_finds_every_state(world: World, restored_from: list[int]):
    await world.create(partitions=2)
    settings = {"standby": True, "session_timeout_ms": 1_000, "heartbeat_interval_ms": 70, "commit_interval_s": 0.01}
    first = world.runtime(world.appending(), **settings)
    dying = await begin(first)
    for number in range(2):
        await world.send(*"abc", key=f"k{number}", partition=number)
        await world.send(*(str(n % 10) for n in range(300)), key=f"long{number}", partition=number)
    await world.until_committed({0: 303, 1: 303})
    appending = world.appending()
    second = world.runtime(appending, **settings)
    async with at_work(second):
        (owned,) = (status.partition for status in second.status())
        await until(lambda: len(standby_of(second)) == 2)
        await world.send("d", key=f"k{1 - owned}", partition=1 - owned)
        await world.until_committed({owned: 303, 1 - owned: 304})
        await until(lambda: all(store.get(f"k{1 - owned}") == "abcd" for store in standby_of(second)._stores.values()))
        del restored_from[:]
        await crash(dying)
        await until(lambda: len(second.status()) == 2 and second.is_ready)
        assert appending.opened_with[1 - owned] == {f"k{1 - owned}": "abcd", f"long{1 - owned}": "0123456789" * 30}
        assert min(restored_from) > 3, "it knew what was committed before"
        assert len(standby_of(second)) == 0, "what it owns it does not follow"
        await world.send("e", key=f"k{1 - owned}", partition=1 - owned)
        await world.until_committed({owned: 303, 1 - owned: 305})
        assert (await world.states())[f"k{1 - owned}"] == "abcde"


async def test_what_is_in_an_open_transaction_is_not_read_by_a_standby(world: World):
    from streams.runtime.commits import TransactionalCommits
    from tests.integration.runtime_world import partition_of

    await world.create()
    settings = world.settings(standby=True)
    owner = TransactionalCommits(settings, partition_of(world, 0))
    await owner.open()
    standby: Standby[str] = Standby(settings, {world.topic("in"): 1}, lambda: runtime_module.StateStore(TextCodec()))
    reading = asyncio.create_task(standby.run())
    try:
        standby.follow(partition_of(world, 0), None)
        await owner.commit(1, [(b"k", b"durable")])
        await owner._producer.begin_transaction()
        await owner._send([(b"k", b"not durable"), (b"other", b"not durable")])
        await asyncio.sleep(0)
        await until(lambda: len(standby) == 1)
        await owner._producer.abort_transaction()
        await owner.commit(2, [(b"last", b"durable")])
        await until(lambda: len(standby) == 2)
        store = standby.take(partition_of(world, 0))
        assert store is not None
        assert dict(store.items()) == {"k": "durable", "last": "durable"}
    finally:
        await crash(reading)
        await owner.close()


async def test_a_standby_that_outgrows_its_bound_gives_up_its_largest_partition(world: World):
    await world.create(partitions=2)
    owner = world.runtime(world.appending(), commit_interval_s=0.01)
    async with at_work(owner):
        await world.send("small", key="k0", partition=0)
        await world.send("x" * 4_000, key="k1", partition=1)
        await world.until_committed({0: 1, 1: 1})
        settings = world.settings(standby=True, standby_bytes=2_000)
        standby: Standby[str] = Standby(settings, {world.topic("in"): 2}, lambda: runtime_module.StateStore(TextCodec()))
        reading = asyncio.create_task(standby.run())
        try:
            for source in standby.sources:
                standby.follow(source, None)
            await until(lambda: len(standby._stores) == 1 and len(standby) == 1)
            (kept,) = standby._stores.values()
            assert kept.get("k0") == "small"
        finally:
            await crash(reading)


async def test_a_long_restore_says_how_far_it_is_and_is_over_before_the_runtime_is_ready(world: World, monkeypatch: Any):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    await world.create(partitions=2)
    before = world.runtime(world.appending(), commit_interval_s=0.01)
    async with at_work(before):
        for number in range(2):
            await world.send("a", "b", key=f"k{number}", partition=number)
        await world.until_committed({0: 2, 1: 2})
    lines: list[str] = []
    ready_at: list[int] = []
    dead_letter = dead_letter_to(world.topic("dead"))
    after = Runtime(world.settings(), world.appending(), TextCodec(), dead_letter, report=lines.append)
    async with at_work(after):
        ready_at.append(len(lines))
        assert sum(status.states for status in after.status()) == 2
    assert lines[0].startswith(f"{world.topic('group')}: restoring ")
    assert lines[-1].startswith(f"{world.topic('group')}: restored 2 states in ")
    assert ready_at == [len(lines)], "nothing was restored after it was ready"
