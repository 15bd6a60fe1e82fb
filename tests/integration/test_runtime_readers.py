"""The readers without a group, and the batch runtime, against a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from streams.runtime import BatchRuntime, BatchSettings, FollowedTopic, Outgoing, Record, RuntimeFailed, tail
from tests.integration.runtime_world import World, a_world, at_work, begin, crash, until

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        await world.create(partitions=2, names=("in", "other"))
        yield world


async def test_tail_from_latest_misses_nothing_sent_after_it_was_entered(world: World):
    await world.send("before", partition=0)
    async with tail(world.bootstrap, [world.topic("in")], "latest") as records:
        await world.send("after", partition=0)
        await world.send("after", partition=1)
        found = [await anext(records), await anext(records)]
    assert {(record.partition, record.value) for record in found} == {(0, b"after"), (1, b"after")}


async def test_tail_until_end_stops_where_the_topics_ended_also_when_they_are_empty(world: World):
    async with tail(world.bootstrap, [world.topic("other")], "earliest", until_end=True) as records:
        assert [record async for record in records] == []
    await world.send("a", "b", partition=0)
    await world.send("c", partition=1)
    async with tail(world.bootstrap, [world.topic("in"), world.topic("other")], "earliest", until_end=True) as records:
        await world.send("too late", partition=0)
        assert sorted([record.value async for record in records]) == [b"a", b"b", b"c"]


async def test_tail_from_a_time_begins_with_the_first_record_that_is_not_older(world: World):
    stamped = [Outgoing(world.topic("in"), b"k", b"%d" % at, partition=0, timestamp_ms=at) for at in (1000, 2000, 3000)]
    await world.publisher.send(stamped)
    async with tail(world.bootstrap, [world.topic("in")], 1500, until_end=True) as records:
        assert [record.timestamp_ms async for record in records] == [2000, 3000]


async def test_a_reader_names_the_topic_it_misses(world: World):
    with pytest.raises(RuntimeFailed, match=r"has no topic .*\.nowhere: create it first"):
        async with tail(world.bootstrap, [world.topic("nowhere")]):
            pass


async def test_a_followed_topic_has_everything_sent_before_caught_up_was_called(world: World):
    table: dict[bytes | None, bytes | None] = {}

    def apply(record: Record) -> None:
        table[record.key] = record.value

    await world.send("1", "2", key="a")
    async with FollowedTopic(world.bootstrap, world.topic("in"), apply) as followed:
        await followed.caught_up()
        assert table == {b"a": b"2"}
        await world.send("3", key="a")
        await world.send("1", key="b")
        await followed.caught_up()
        assert table == {b"a": b"3", b"b": b"1"}


async def test_a_followed_topic_passes_over_what_cannot_be_applied_with_a_word(world: World, caplog):
    applied: list[bytes | None] = []

    def apply(record: Record) -> None:
        if record.value == b"a":
            raise ValueError("no such thing")
        applied.append(record.value)

    async with FollowedTopic(world.bootstrap, world.topic("in"), apply) as followed:
        await world.send("a", "b", key="k")
        await followed.caught_up()
    assert applied == [b"b"]
    assert "no such thing" in caplog.text


class Store:
    """Keeps what it is given and its positions, as one."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.next: dict[tuple[str, int], int] = {}
        self.fail = False

    async def positions(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        return {partition: self.next[partition] for partition in partitions if partition in self.next}

    async def handle(self, records: Sequence[Record]) -> None:
        if self.fail:
            raise OSError("the store is gone")
        for record in records:
            assert record.offset == self.next.get((record.topic, record.partition), 0)
            self.next[record.topic, record.partition] = record.offset + 1
            self.values.append(record.value)


def batch_settings(world: World) -> BatchSettings:
    topics = (world.topic("in"), world.topic("other"))
    return BatchSettings(world.bootstrap, world.topic("group"), topics, session_timeout_ms=6_000, heartbeat_interval_ms=300)


async def test_batches_go_on_where_the_store_stands_and_not_where_kafka_thinks(world: World):
    store = Store()
    await world.send("a", "b", partition=0)
    async with at_work(BatchRuntime(batch_settings(world), store)):
        await until(lambda: len(store.values) == 2)
    await world.send("c", partition=0)
    await world.send("d", partition=1)
    store.next[world.topic("in"), 0] = 1  # as if the store had been put back to an earlier state
    async with at_work(BatchRuntime(batch_settings(world), store)):
        await until(lambda: len(store.values) == 5)
    assert sorted(value or b"" for value in store.values) == [b"a", b"b", b"b", b"c", b"d"]


async def test_a_batch_that_fails_ends_the_runtime_and_is_handed_over_again(world: World):
    store = Store()
    store.fail = True
    runtime = BatchRuntime(batch_settings(world), store)
    running = await begin(runtime)
    await world.send("a", partition=0)
    with pytest.raises(OSError, match="the store is gone"):
        await running
    store.fail = False
    async with at_work(BatchRuntime(batch_settings(world), store)):
        await until(lambda: store.values == [b"a"])


async def test_two_batch_runtimes_share_the_partitions(world: World):
    store = Store()
    one, other = BatchRuntime(batch_settings(world), store), BatchRuntime(batch_settings(world), store)
    running = [await begin(one), await begin(other)]
    for number in range(20):
        await world.send(f"v{number}", partition=number % 2)
    await until(lambda: len(store.values) >= 20)
    assert len(store.values) == 20
    for runtime, task in zip((one, other), running, strict=True):
        await runtime.stop()
        await task


async def test_a_crashed_batch_runtime_leaves_no_task_behind(world: World):
    before = asyncio.all_tasks()
    task = await begin(BatchRuntime(batch_settings(world), Store()))
    await crash(task)
    await until(lambda: asyncio.all_tasks() == before)
