"""Periods of a topic, copies of them, and a rebuild that somebody else finishes, on a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
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


async def stamped(world: World, *minutes: float) -> tuple[str, int]:
    """A topic whose records 0, 1, … lie on one partition, each so many minutes from a moment, which is returned in ms."""
    await world.create(1, names=["log"])
    name, noon_ms = world.topic("log"), time.time_ns() // 1_000_000 - 3_600_000
    for at, minute in enumerate(minutes):
        stamp = noon_ms + round(minute * 60_000)
        await world.publisher.send([Outgoing(name, b"k", str(at).encode(), partition=0, timestamp_ms=max(0, stamp))])
    return name, noon_ms


FOREVER_AGO = -(10.0**9)
"""Minutes: before 1970, which `stamped` makes 1970."""


async def test_a_period_has_each_record_of_its_time_whatever_the_order(world: World):
    """One producer's clock is 50 minutes ahead, another's stands at 1970: nothing behind their records is lost."""
    minutes = (50, 0, 1, FOREVER_AGO, 2, 61, 3, -5, 4, 59.9)
    name, noon_ms = await stamped(world, *minutes)
    first, last = Place("time", noon_ms), Place("time", noon_ms + 5 * 60_000)
    assert sorted(await values(world, name, first, last)) == list("12468")
    assert sorted(await values(world, name, first)) == list("01245689")
    assert sorted(await values(world, name, BEGINNING, first)) == list("37")
    for minute in (-6, -4, 0, 2.5, 50, 60, 62):  # what the broker finds for a time never lies behind a record of the period
        since = Place("time", noon_ms + round(minute * 60_000))
        wanted = [str(at) for at, its in enumerate(minutes) if its >= minute]
        assert sorted(await values(world, name, since)) == wanted


async def test_times_out_of_order_are_said_once_with_how_many_and_by_how_much(world: World):
    name, noon_ms = await stamped(world, 50, 0, 50.001, 49.99)
    async with window(world.bootstrap, name, Place("time", noon_ms)) as log:
        assert len([record async for record in log.by_time()]) == 4
    assert str(log.disorder).startswith("times are out of order: 1 lie behind later ones, by up to 3,000 s")


async def test_times_of_the_broker_are_in_order_and_end_the_reading(world: World):
    """What producers say is not even there: the topic stamps records as it writes them."""
    name = world.topic("log")
    await world.admin.create_topics([NewTopic(name, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    for at in range(9):
        await world.publisher.send([Outgoing(name, b"k", str(at).encode(), partition=0, timestamp_ms=1_000)])
    async with window(world.bootstrap, name) as log:
        stamps = [record.timestamp_ms async for record in log.by_time()]
    assert min(stamps) > 1_000
    async with window(world.bootstrap, name, Place("time", stamps[0]), Place("time", stamps[-1])) as log:
        assert [record.timestamp_ms async for record in log.by_time()] == [stamp for stamp in stamps if stamp < stamps[-1]]
    assert log.disorder.records == 0
    assert await values(world, name, Place("time", 1_000), Place("time", 2_000)) == []


async def test_a_copy_of_a_period_has_what_the_period_has(world: World):
    name, noon_ms = await stamped(world, 50, 0, 1, 61, 2)
    await world.create(1, names=["copy"])
    notes: list[str] = []
    done = await republish(
        world.bootstrap,
        world.publisher,
        name,
        world.topic("copy"),
        replay_id="r",
        start=Place("time", noon_ms),
        end=Place("time", noon_ms + 5 * 60_000),
        note=notes.append,
    )
    assert done.records == 3
    assert sorted(await values(world, world.topic("copy"))) == list("124")
    assert any("times are out of order" in note for note in notes)


async def test_a_partition_that_runs_ahead_does_not_have_the_others_held_in_memory(world: World, monkeypatch: pytest.MonkeyPatch):
    """Its first record is the last of all, so what lies behind it waits: no more of it is read than there is room for."""
    monkeypatch.setattr("streams.replay.window.WAITING_BYTES", 1)
    await world.create(2, names=["log"])
    name = world.topic("log")
    now_ms = time.time_ns() // 1_000_000
    stamps = [(0, now_ms), *((0, now_ms - 5_000 + at) for at in range(50)), *((1, now_ms - 4_000 + at) for at in range(50))]
    await world.publisher.send(
        Outgoing(name, b"k", str(at).encode(), partition=partition, timestamp_ms=stamp)
        for at, (partition, stamp) in enumerate(stamps)
    )
    assert len(await values(world, name)) == len(stamps)


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
