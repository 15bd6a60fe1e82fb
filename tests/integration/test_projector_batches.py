"""The projector against a real Postgres: batches, repeats, crashes and owners."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from connectors.postgres.errors import OvertakenError, StorageError
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.projection import PostgresProjection, reset
from schemas import topics
from schemas.base import Event
from streams.projector import Projector
from tests.integration.projector_log import everything, health, records, rolled_up, run, small_log, started

pytestmark = pytest.mark.postgres


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=4)
    await migrate(pool)
    yield pool
    await pool.close()


async def test_a_log_becomes_rows_in_every_table(pool: Pool) -> None:
    log = small_log()
    await (await started(pool, log)).handle(log)
    counts = {table: len(rows) for table, rows in (await everything(pool)).items()}
    assert counts == {
        "agent_executions": 8,
        "agent_health": 1,
        "alerts": 2,
        "composio_action_usage": 1,
        "conversations": 2,
        "cost_rollups": 2,
        "dead_letters": 2,
        "human_tasks": 1,
        "llm_routing_decisions": 3,
        "messages": 8,
        "workflow_executions": 4,
        "workflow_registry": 1,
    }


async def test_an_older_word_about_a_total_changes_nothing(pool: Pool) -> None:
    """A former owner of a partition may have written after the new one."""
    log = records(topics.COSTS_ROLLUPS, [rolled_up(9, 90), rolled_up(3, 30)])
    await (await started(pool, log)).handle(log)
    assert [tuple(row) for row in await pool.fetch("SELECT last_offset, count, cost_usd::text FROM cost_rollups")] == [
        (9, 9, "0.000090")
    ]


async def test_an_agent_that_is_healthy_again_says_so(pool: Pool) -> None:
    log = records(topics.AGENT_HEALTH, [health(healthy=False), health(healthy=True)])
    await (await started(pool, log)).handle(log)
    assert [tuple(row) for row in await pool.fetch("SELECT agent, healthy, error_rate::text FROM agent_health")] == [
        ("helper", True, "0.1000")
    ]


async def test_a_run_shows_its_messages_cost_and_trace(pool: Pool) -> None:
    log = records(topics.WORKFLOW_EVENTS, run("ann", 1))
    await (await started(pool, log)).handle(log)
    said = await pool.fetch("SELECT ordinal, role, text FROM messages ORDER BY ordinal")
    assert [tuple(row) for row in said] == [(1, "customer", "Where is my order?"), (2, "agent", "On its way.")]
    row = await pool.fetchrow(
        "SELECT status, cost_micro_usd, cost_usd::text, input_text_tokens, trace #>> '{0,node}', trace #>> '{1,cost_usd}' "
        "FROM workflow_executions"
    )
    assert row is not None
    assert tuple(row) == ("completed", 1250, "0.001250", 120, "refund", "0.001250")


async def test_the_same_log_again_changes_nothing(pool: Pool) -> None:
    """At-least-once publishing puts repeats on the log, with the same ids at later offsets."""
    log = small_log()
    await (await started(pool, log)).handle(log)
    before = await everything(pool)
    again = [replace(record, offset=record.offset + len(log)) for record in log]
    await (await started(pool, again)).handle(again)
    assert await everything(pool) == before
    assert await pool.fetchval("SELECT max(next_offset) FROM projection_offsets") == 15 + len(log), "they were handled"


@pytest.mark.parametrize("seed", range(4))
async def test_rows_do_not_depend_on_batches_nor_on_the_order_across_topics(pool: Pool, seed: int) -> None:
    """One batch, or any cut and any interleaving that keeps the order within each partition."""
    log = small_log()
    await (await started(pool, log)).handle(log)
    at_once = await everything(pool)
    await reset(pool)

    chance = random.Random(seed)
    queues: dict[tuple[str, int], list[int]] = {}
    for at, record in enumerate(log):
        queues.setdefault((record.topic, record.partition), []).append(at)
    mixed = []
    while queues:
        partition = chance.choice(sorted(queues))
        mixed.append(log[queues[partition].pop(0)])
        if not queues[partition]:
            del queues[partition]
    projector = await started(pool, log)
    while mixed:
        size = chance.randint(1, 6)
        await projector.handle(mixed[:size])
        mixed = mixed[size:]
    assert await everything(pool) == at_once


async def test_a_node_that_ends_after_its_run_is_in_the_trace_whatever_the_batches(pool: Pool) -> None:
    events = run("ann", 1)
    late = [*events[:3], events[4], events[3]]
    log = records(topics.WORKFLOW_EVENTS, late)
    projector = await started(pool, log)
    for record in log:
        await projector.handle([record])
    apart = await everything(pool)
    assert '"node": "answer"' in str(apart["workflow_executions"])
    await reset(pool)
    await (await started(pool, log)).handle(log)
    assert await everything(pool) == apart


async def test_after_a_crash_within_a_batch_it_is_written_once(pool: Pool) -> None:
    """The connection dies after the rows and before the end of the transaction: neither rows nor position were kept."""
    log = small_log()
    partitions = {(record.topic, record.partition) for record in log}

    class Dying(PostgresProjection):
        async def apply(self, events, positions, *, rejected):  # type: ignore[no-untyped-def]
            async def die(event: Event, reason: str) -> None:
                victims = await pool.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE state = 'idle in transaction' AND datname = current_database()"
                )
                assert len(victims) == 1

            bad = events[0].model_copy(update={"id": "bad", "ordinal": 2**70, "run_id": "bad"})
            await super().apply([*events, bad], positions, rejected=die)

    projector = Projector(Dying(pool))
    await projector.positions(partitions)
    with pytest.raises(StorageError, match="Postgres has gone away"):
        await projector.handle(log)
    assert not any((await everything(pool)).values())

    again = Projector(PostgresProjection(pool))
    assert await again.positions(partitions) == {}, "nothing was begun"
    await again.handle(log)
    assert len((await everything(pool))["messages"]) == 8


async def test_a_new_owner_goes_on_where_the_old_one_stopped(pool: Pool) -> None:
    log = records(topics.WORKFLOW_EVENTS, [*run("ann", 1), *run("ann", 2)])
    await (await started(pool, log)).handle(log[:5])
    positions = await Projector(PostgresProjection(pool)).positions([(topics.WORKFLOW_EVENTS, 0)])
    assert positions == {(topics.WORKFLOW_EVENTS, 0): 5}


async def test_records_fetched_before_a_rebalance_and_applied_since_are_dropped(pool: Pool) -> None:
    log = records(topics.WORKFLOW_EVENTS, [*run("ann", 1), *run("ann", 2)])
    projector = await started(pool, log)
    await projector.handle(log)
    before = await everything(pool)
    await projector.positions([(topics.WORKFLOW_EVENTS, 0)])
    await projector.handle(log[:5])
    assert await everything(pool) == before
    assert await pool.fetchval("SELECT next_offset FROM projection_offsets") == len(log), "the position never goes back"


async def test_an_overtaken_projector_writes_nothing_and_stops(pool: Pool) -> None:
    """Also when the new owner has not written anything yet: reading the position is what takes a partition over."""
    log = records(topics.WORKFLOW_EVENTS, [*run("ann", 1), *run("ann", 2)])
    old = await started(pool, log)
    await old.handle(log[:5])
    new = await started(pool, log)
    before = await everything(pool)
    with pytest.raises(OvertakenError, match="another projector"):
        await old.handle(log[5:])
    assert await everything(pool) == before
    await new.handle(log[5:])
    with pytest.raises(OvertakenError):
        await old.handle(log[5:])
    assert len((await everything(pool))["messages"]) == 4


async def test_two_owners_of_different_partitions_do_not_disturb_each_other(pool: Pool) -> None:
    ann = records(topics.WORKFLOW_EVENTS, run("ann", 1), partition=0)
    bob = records(topics.WORKFLOW_EVENTS, run("bob", 1), partition=1)
    one, two = await started(pool, ann), await started(pool, bob)
    await one.handle(ann)
    await two.handle(bob)
    assert len((await everything(pool))["messages"]) == 4


async def test_a_database_without_tables_says_what_to_run(database: str) -> None:
    async with await open_pool(database) as empty:
        with pytest.raises(StorageError, match=r"tables are not there.*hil up"):
            await PostgresProjection(empty).positions([(topics.WORKFLOW_EVENTS, 0)])
