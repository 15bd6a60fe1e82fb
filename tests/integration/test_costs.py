"""What `hil costs` asks of Postgres: sums by the hour, the day and the month, of one thing or of all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.postgres.costs import Costs
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from schemas import topics
from schemas.events import RollupChanged
from schemas.events.ledger import HOUR_MS
from schemas.sketch import as_json, bucket
from streams.ledger.fold import RowKey, Total, fold, rollup, row_of
from tests.integration.ledger_world import NOON_MS, call
from tests.integration.projector_log import records, started

pytestmark = pytest.mark.postgres
DAY_MS = 24 * HOUR_MS
CALLS = [call(number, at_ms=NOON_MS + number % 50 * HOUR_MS) for number in range(300)]


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """What the projector makes of the ledger's rows, and of the calls themselves."""
    pool = await open_pool(database)
    await migrate(pool)
    rows: dict[RowKey, Total] = {}
    for offset, event in enumerate(CALLS):
        key = row_of(event, offset % 3)
        assert key is not None
        rows[key] = fold(rows.get(key), event, offset)
    log = records(topics.COSTS_ROLLUPS, [rollup(key, total) for key, total in rows.items()])
    log += records(topics.ROUTING_DECISIONS, CALLS)
    await (await started(pool, log)).handle(log)
    yield pool
    await pool.close()


async def test_every_period_adds_up_to_the_same_money(pool: Pool):
    costs, until = Costs(pool), NOON_MS + 60 * HOUR_MS
    spent = sum(event.cost_micro_usd for event in CALLS)
    assert await costs.total(NOON_MS, until) == spent
    for unit in ("hour", "day", "month"):
        for by in (None, "model", "agent", "workflow", "node"):
            rows = await costs.rows(unit, NOON_MS, until, by=by)
            assert sum(row.cost_micro_usd for row in rows) == spent
            assert sum(row.calls for row in rows) == len(CALLS)
    assert len(await costs.rows("hour", NOON_MS, until)) == 50
    assert len(await costs.rows("day", NOON_MS, until)) == 3


async def test_each_model_has_its_own_row_and_the_dearest_is_first(pool: Pool):
    rows = await Costs(pool).rows("month", NOON_MS, NOON_MS + 60 * HOUR_MS, by="model")
    expected = {f"m-{n}": sum(event.cost_micro_usd for event in CALLS if event.model == f"m-{n}") for n in range(4)}
    assert {row.name: row.cost_micro_usd for row in rows} == expected
    assert [row.cost_micro_usd for row in rows] == sorted(expected.values(), reverse=True)
    assert sum(row.errors for row in rows) == sum(not event.success for event in CALLS)


async def test_a_period_is_half_open(pool: Pool):
    costs = Costs(pool)
    first = sum(event.cost_micro_usd for event in CALLS if event.time_ms < NOON_MS + HOUR_MS)
    assert await costs.total(NOON_MS, NOON_MS + HOUR_MS) == first
    assert await costs.total(NOON_MS - HOUR_MS, NOON_MS) == 0


async def test_quantiles_come_from_all_rows_together(pool: Pool):
    (row,) = await Costs(pool).rows("month", NOON_MS, NOON_MS + 60 * HOUR_MS)
    latencies = sorted(event.latency_ms for event in CALLS)
    assert row.p50_ms == pytest.approx(latencies[149], rel=0.06, abs=1)
    assert row.p95_ms == pytest.approx(latencies[284], rel=0.06, abs=1)
    assert row.mean_ms == round(sum(latencies) / 300)
    assert as_json({bucket(0): 1}) == {"-1": 1}


async def test_absurd_rows_break_no_report(pool: Pool):
    """Sums beyond 64 bits, and sketches that are none: somebody else's, on the ledger's topic."""
    absurd = [
        RollupChanged(
            id=f"absurd-{at}",
            time_ms=NOON_MS,
            conversation_id="",
            kind="calls",
            source_partition=77,
            last_offset=1,
            hour_ms=NOON_MS,
            model=f"absurd-{at}",
            cost_micro_usd=2**63 - 1,
            latency=latency,
        )
        for at, latency in enumerate(({"x": 1}, [1], "text", {"9999999": 1}, {"1": "many"}, {"1": -1}))
    ]
    log = records(topics.COSTS_ROLLUPS, absurd, partition=1)
    await (await started(pool, log)).handle(log)
    costs, until = Costs(pool), NOON_MS + 60 * HOUR_MS
    assert await costs.total(NOON_MS, until) == sum(event.cost_micro_usd for event in CALLS) + 6 * (2**63 - 1)
    assert {row.name for row in await costs.rows("month", NOON_MS, until, by="model")} > {f"absurd-{at}" for at in range(6)}


async def test_recorded_calls_keep_their_counts(pool: Pool):
    found = await Costs(pool).calls(NOON_MS, NOON_MS + 60 * HOUR_MS)
    assert sum(each.calls for each in found) == 300
    assert sum(each.cost_micro_usd for each in found) == sum(event.cost_micro_usd for event in CALLS)
    assert {(each.profile, each.workflow, each.input_text_tokens) for each in found} == {("fast", "support@1.0.0", 10)}
