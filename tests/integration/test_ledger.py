"""The ledger on a real broker: restarts, owners, records that Faust leaves out, and what others are told."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import AsyncMock

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from schemas import topics
from schemas.codec import decode
from schemas.events import AgentHealth, Alert
from streams.ledger.fold import RowKey, Total, fold, row_of
from streams.ledger.overseer import Overseer
from streams.ledger.standing import Limits
from streams.runtime import Fenced, Outgoing, Publisher, Transactions
from streams.runtime.model import Interrupted
from tests.integration import ledger_world as world
from tests.support.ledger_worker import renamed

pytestmark = pytest.mark.kafka


async def test_a_restart_goes_on_where_it_was_and_rows_are_told_once_more_only_when_they_change(
    kafka_bootstrap: str, unique: str
):
    await world.create(kafka_bootstrap, unique)
    first = [world.call(number) for number in range(200)]
    await world.send(kafka_bootstrap, unique, first)
    async with world.counting(kafka_bootstrap, unique):
        await world.caught_up(kafka_bootstrap, unique)
    told = len(await world.everything(kafka_bootstrap, renamed(unique)[topics.COSTS_ROLLUPS]))
    async with world.counting(kafka_bootstrap, unique) as ledger:
        assert sum(total.count for total in ledger.totals(topics.LEDGER_CALLS)) == 200, "restored"
    assert len(await world.everything(kafka_bootstrap, renamed(unique)[topics.COSTS_ROLLUPS])) == told
    second = [world.call(number) for number in range(150, 400)]
    await world.send(kafka_bootstrap, unique, second)
    async with world.counting(kafka_bootstrap, unique):
        await world.caught_up(kafka_bootstrap, unique)
    assert world.counted(await world.rollups(kafka_bootstrap, unique)) == world.summed([*first, *second])


async def test_an_owner_that_was_shut_out_begins_anew_and_counts_nothing_twice(kafka_bootstrap: str, unique: str):
    await world.create(kafka_bootstrap, unique, partitions=1)
    events = [world.call(number) for number in range(100)]
    async with world.counting(kafka_bootstrap, unique):
        await world.send(kafka_bootstrap, unique, events[:50])
        await world.caught_up(kafka_bootstrap, unique)
        thief = Transactions(kafka_bootstrap, f"{unique}.ledger-0", group=f"{unique}.ledger")
        await thief.open()
        await thief.close()
        await world.send(kafka_bootstrap, unique, events[50:])
        await world.caught_up(kafka_bootstrap, unique)
    assert world.counted(await world.rollups(kafka_bootstrap, unique)) == world.summed(events)


async def test_a_transaction_of_a_former_owner_is_refused(kafka_bootstrap: str, unique: str):
    await world.create(kafka_bootstrap, unique, partitions=1)
    rollups = renamed(unique)[topics.COSTS_ROLLUPS]
    former, owner = (Transactions(kafka_bootstrap, unique, group=unique) for _ in range(2))
    await former.open()
    await owner.open()
    with pytest.raises(Fenced, match="has a new owner"):
        await former.commit([Outgoing(rollups, b"k", b"former")], {(rollups, 0): 1})
    await owner.commit([Outgoing(rollups, b"k", b"owner")], {(rollups, 0): 1})
    await former.close()
    await owner.close()
    assert [record.value for record in await world.everything(kafka_bootstrap, rollups)] == [b"owner"]


async def test_rows_of_a_transaction_that_was_not_committed_are_not_restored(kafka_bootstrap: str, unique: str):
    """A worker died between the rows and the end of their transaction: nobody was told of them, and no page names their ids."""
    await world.create(kafka_bootstrap, unique, partitions=1)
    events = [world.call(number) for number in range(20)]
    await world.send(kafka_bootstrap, unique, events)
    rows: dict[RowKey, Total] = {}
    for offset, event in enumerate(events):
        key = row_of(event, 0)
        assert key is not None
        rows[key] = fold(rows.get(key), event, offset)
    changelog, encode = renamed(unique)[topics.LEDGER_CALLS], msgspec.msgpack.encode
    dying = Transactions(kafka_bootstrap, f"{unique}.ledger-0", group=f"{unique}.ledger")
    await dying.open()
    dying._producer.commit_transaction = AsyncMock(side_effect=KafkaConnectionError("killed"))
    with pytest.raises(Interrupted):
        await dying.commit([Outgoing(changelog, encode(key), encode(row), partition=0) for key, row in rows.items()], {})
    await world.send(kafka_bootstrap, unique, events[5:8])
    async with world.counting(kafka_bootstrap, unique):
        await world.caught_up(kafka_bootstrap, unique)
    await dying.close()
    assert world.counted(await world.rollups(kafka_bootstrap, unique)) == world.summed(events)


async def test_records_that_were_not_delivered_are_fetched_again(kafka_bootstrap: str, unique: str):
    """The consumer is moved past some records, as Faust's own buffers do after a rebalance."""
    await world.create(kafka_bootstrap, unique, partitions=1)
    events = [world.call(number) for number in range(60)]
    async with world.counting(kafka_bootstrap, unique) as ledger:
        await world.send(kafka_bootstrap, unique, events[:20])
        await world.caught_up(kafka_bootstrap, unique)
        assert ledger._session is not None
        await ledger._session._app.consumer.seek_wait({TP(renamed(unique)[topics.ROUTING_DECISIONS], 0): 40})
        await world.send(kafka_bootstrap, unique, events[20:])
        await world.caught_up(kafka_bootstrap, unique)
    assert world.counted(await world.rollups(kafka_bootstrap, unique)) == world.summed(events)


async def test_two_workers_share_the_partitions(kafka_bootstrap: str, unique: str):
    await world.create(kafka_bootstrap, unique)
    events = [world.call(number) for number in range(300)]
    await world.send(kafka_bootstrap, unique, events[:150])
    async with world.counting(kafka_bootstrap, unique) as first, world.counting(kafka_bootstrap, unique) as second:
        async with asyncio.timeout(world.PATIENCE_S):
            while not (first.owned() and second.owned()) or first.owned() & second.owned():
                await asyncio.sleep(0.1)
        assert first.owned() | second.owned() == {0, 1, 2}
        await world.send(kafka_bootstrap, unique, events[150:])
        await world.caught_up(kafka_bootstrap, unique)
    assert world.counted(await world.rollups(kafka_bootstrap, unique)) == world.summed(events)


async def test_health_and_alerts_are_said_once_and_known_after_a_restart(kafka_bootstrap: str, unique: str):
    await world.create(kafka_bootstrap, unique)
    names = renamed(unique)
    now_ms = time.time_ns() // 1_000_000
    calls = [world.call(number, at_ms=now_ms) for number in range(100)]
    nodes = [world.ended(number, time_ms=now_ms, status="failed" if number % 2 else "executed") for number in range(40)]
    await world.send(kafka_bootstrap, unique, [*calls, *nodes])
    async with world.counting(kafka_bootstrap, unique):
        await world.caught_up(kafka_bootstrap, unique)
    for _ in range(2):
        async with Publisher(kafka_bootstrap) as publisher:
            overseer = Overseer(
                kafka_bootstrap,
                publisher,
                acts=lambda: True,
                limits=lambda: [Limits("support", daily_micro_usd=5_000)],
                clock_ms=lambda: now_ms,
                every_s=0.1,
                names=names,
            )
            running = asyncio.create_task(overseer.run())
            await asyncio.sleep(1.5)
            await overseer.stop()
            await running
    health = [decode(each.value, each.headers) for each in await world.everything(kafka_bootstrap, names[topics.AGENT_HEALTH])]
    assert [(each.agent, each.healthy, each.failures) for each in health if isinstance(each, AgentHealth)] == [("a", False, 20)]
    alerts = [decode(each.value, each.headers) for each in await world.everything(kafka_bootstrap, names[topics.ALERTS])]
    assert sorted((each.name, each.state, each.spent_micro_usd) for each in alerts if isinstance(each, Alert)) == [
        ("agent_health.a", "critical", 0),
        ("budget.daily.support", "warning", 4950),
    ]


async def test_a_faust_that_stands_still_is_begun_anew(kafka_bootstrap: str, unique: str):
    """Its flow is stopped from outside, as by a rebalance whose end it never hears of."""
    await world.create(kafka_bootstrap, unique, partitions=1)
    events = [world.call(number) for number in range(40)]
    async with world.counting(kafka_bootstrap, unique, patience_s=1.5) as ledger:
        await world.send(kafka_bootstrap, unique, events[:20])
        await world.caught_up(kafka_bootstrap, unique)
        assert ledger._session is not None
        ledger._session._app.consumer.stop_flow()
        await world.send(kafka_bootstrap, unique, events[20:])
        await world.caught_up(kafka_bootstrap, unique)
    assert world.counted(await world.rollups(kafka_bootstrap, unique)) == world.summed(events)
