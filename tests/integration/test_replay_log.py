"""Periods of a topic, copies of them, and a rebuild that somebody else finishes, on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from connectors.postgres.errors import OvertakenError
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import open_pool
from connectors.postgres.projection import PostgresProjection, progress, reset
from streams.projector import Partition, Projector
from streams.replay.place import BEGINNING, END, Place
from streams.replay.rebuild import Store, missing, rebuild
from streams.replay.republish import republish
from streams.replay.window import window
from streams.runtime import Outgoing, Record, RuntimeFailed
from streams.runtime.transaction import Transactions
from streams.wire import outgoing
from tests.integration.projector_log import everything, run
from tests.integration.runtime_world import World, a_world

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_bootstrap: str, unique: str) -> AsyncIterator[World]:
    async with a_world(kafka_bootstrap, unique) as world:
        yield world


async def filled(world: World, count: int = 6, partitions: int = 2) -> str:
    """A topic with `count` records, one partition after the other, a second apart from 1,000,000,000,000 on."""
    await world.create(partitions, names=["log", "copy"])
    name = world.topic("log")
    for at in range(count):
        stamp = 1_000_000_000_000 + at * 1000
        out = Outgoing(name, b"k", str(at).encode(), (("h", b"v"),), partition=at % partitions, timestamp_ms=stamp)
        await world.publisher.send([out])
    return name


async def values(world: World, topic: str, start: Place = BEGINNING, end: Place = END, **more: Any) -> list[str]:
    async with window(world.bootstrap, topic, start, end, **more) as log:
        return [(record.value or b"").decode() async for record in log.by_time()]


async def test_a_period_comes_in_the_order_of_time_over_all_partitions(world: World):
    name = await filled(world)
    assert await values(world, name) == list("012345")
    assert await values(world, name, partitions=[1]) == list("135")


async def test_a_period_is_half_open_by_time_and_by_offset(world: World):
    name = await filled(world)
    by_time = Place("time", 1_000_000_001_000), Place("time", 1_000_000_004_000)
    assert await values(world, name, *by_time) == list("123")
    assert await values(world, name, Place("offset", 1), Place("offset", 2)) == list("23")
    assert await values(world, name, END) == []
    assert await values(world, name, Place("time", 1_000_000_004_000), Place("time", 1_000_000_001_000)) == []


async def test_a_partition_that_is_not_there_is_said(world: World):
    name = await filled(world)
    with pytest.raises(RuntimeFailed, match="partitions 0 to 1"):
        await values(world, name, partitions=[2])


async def test_it_says_what_retention_has_cut_off_the_period(world: World):
    name = await filled(world)
    await world.admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=2)})

    async def cuts(start: Place) -> list[tuple[int, int]]:
        async with window(world.bootstrap, name, start) as log:
            return [(cut.partition, cut.beginning) for cut in log.cuts]

    assert await cuts(BEGINNING) == [(0, 2)]
    assert await cuts(Place("time", 1_000_000_003_000)) == [(0, 2)], "its first record is of four seconds later"
    assert await cuts(Place("time", 1_000_000_004_000)) == []
    assert await cuts(Place("offset", 1)) == [(0, 2)]
    assert await cuts(Place("offset", 2)) == []
    async with window(world.bootstrap, name) as log:
        assert "begins at offset 2, of 2001-09-09T01:46:44.000Z" in str(log.cuts[0])


async def test_what_comes_after_the_period_is_followed(world: World):
    name = await filled(world, count=2)
    async with window(world.bootstrap, name) as log:
        assert len([record async for record in log.by_time()]) == 2
        await world.publisher.send([Outgoing(name, b"k", b"new", partition=0)])
        following = log.onwards()
        assert (await anext(following)).value == b"new"
        await following.aclose()


async def copies(world: World) -> list[Record]:
    async with window(world.bootstrap, world.topic("copy")) as log:
        return [record async for record in log.by_time()]


async def test_a_copy_has_key_value_headers_and_where_it_came_from(world: World):
    name = await filled(world)
    await republish(world.bootstrap, world.publisher, name, world.topic("copy"), replay_id="r-1", start=Place("offset", 2))
    found = await copies(world)
    assert sorted((record.key, record.value) for record in found) == [(b"k", b"4"), (b"k", b"5")]
    [fourth] = [dict(record.headers) for record in found if record.value == b"4"]
    assert fourth == {
        "h": b"v",
        "x-original-topic": name.encode(),
        "x-original-partition": b"0",
        "x-original-offset": b"2",
        "x-original-timestamp": b"1000000004000",
        "x-replay-id": b"r-1",
    }


async def test_a_copy_of_a_copy_names_the_first_place(world: World):
    name = await filled(world, count=1)
    await republish(world.bootstrap, world.publisher, name, world.topic("copy"), replay_id="r-1")
    await republish(world.bootstrap, world.publisher, world.topic("copy"), name, replay_id="r-2")
    async with window(world.bootstrap, name) as log:
        last = [dict(record.headers) async for record in log.by_time()][-1]
    assert (last["x-original-topic"], last["x-replay-id"]) == (name.encode(), b"r-2")


async def test_a_dry_run_counts_and_copies_nothing(world: World):
    name = await filled(world)
    done = await republish(world.bootstrap, world.publisher, name, world.topic("copy"), replay_id="r", limit=4, dry_run=True)
    assert (done.records, done.bytes) == (4, 4)
    assert await copies(world) == []


class Overtaken:
    """A projection that another projector takes over after `at` batches, and that this one then finishes."""

    def __init__(self, inner: PostgresProjection, at: int) -> None:
        self.inner = inner
        self.left = at

    async def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return await self.inner.positions(partitions)

    async def apply(self, events: Sequence[Any], positions: Mapping[Partition, int], *, rejected: Any) -> None:
        if not self.left:
            raise OvertakenError("another projector")
        self.left -= 1
        await self.inner.apply(events, positions, rejected=rejected)


@pytest.mark.postgres
async def test_a_rebuild_waits_for_a_projector_that_takes_it_over(world: World, database: str):
    """Rows are the same, whoever wrote the rest. The log ends as the ledger's topics do, in the marker of a transaction."""
    name = world.topic("log")
    await world.create(2, names=["log"])
    sent = [event for conversation in ("ann", "bob", "cid") for turn in (1, 2) for event in run(conversation, turn)]
    outs = [Outgoing(name, out.key, out.value, out.headers) for out in map(outgoing, sent)]
    await world.publisher.send(outs[:-1])
    transactions = Transactions(world.bootstrap, name, group=name)
    await transactions.open()
    await transactions.commit(outs[-1:], {})
    await transactions.close()
    async with await open_pool(database) as pool:
        await migrate(pool)
        store = Store(lambda: reset(pool), lambda: progress(pool), OvertakenError)
        alone = await rebuild(world.bootstrap, Projector(PostgresProjection(pool)), store, topics=(name,))
        assert (alone.records, alone.taken_over) == (len(sent) + 1, False)
        before = await everything(pool)
        assert len(before["workflow_executions"]) == 6

        async def another() -> None:
            """The running projector: begins anew once it finds itself overtaken."""
            projector = Projector(PostgresProjection(pool))
            async with window(world.bootstrap, name) as log:
                positions = await projector.positions([(tp.topic, tp.partition) for tp in log.starts])
                log.starts = {tp: positions.get((tp.topic, tp.partition), 0) for tp in log.starts}
                async for raws in log.batches():
                    await projector.handle([Record(r.topic, r.partition, r.offset, 0, r.key, r.value, r.headers) for r in raws])

        work: list[asyncio.Task[None]] = []
        shared = Overtaken(PostgresProjection(pool), at=0)
        done = await rebuild(
            world.bootstrap,
            Projector(shared),
            store,
            topics=(name,),
            report=lambda line: work.append(asyncio.create_task(another())) if "taken" in line else None,
        )
        await asyncio.gather(*work)
        assert done.taken_over
        assert await everything(pool) == before


async def test_a_rebuild_that_nobody_goes_on_with_ends_in_words(world: World):
    name = await filled(world)

    async def nothing() -> Mapping[Partition, int]:
        return {}

    class Refusing:
        async def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
            raise OvertakenError("another projector")

        async def apply(self, *given: Any, **more: Any) -> None: ...

    with pytest.raises(RuntimeFailed, match="6 records behind"):
        await rebuild(
            world.bootstrap, Projector(Refusing()), Store(nothing, nothing, OvertakenError), topics=(name,), patience_s=0.3
        )


async def test_rows_that_cannot_be_made_again_are_named_before(world: World):
    name = await filled(world)
    assert await missing(world.bootstrap, (name,)) == []
    await world.admin.delete_records({TopicPartition(name, 1): RecordsToDelete(before_offset=1)})
    [lost] = await missing(world.bootstrap, (name,))
    assert f"{name}-1" in lost
