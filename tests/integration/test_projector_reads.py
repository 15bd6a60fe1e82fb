"""What the terminal asks of the projection, and the four monitoring views."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.reads import Reads
from schemas import topics
from tests.integration.projector_log import START_MS, records, run, small_log, started

pytestmark = pytest.mark.postgres


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    log = small_log()
    await (await started(pool, log)).handle(log)
    yield pool
    await pool.close()


async def test_runs_of_a_conversation_come_with_question_answer_and_trace(pool: Pool) -> None:
    first, *others = await Reads(pool).runs_of("ann")
    assert (first.question, first.answer, first.status) == ("Where is my order?", "On its way.", "completed")
    assert (first.cost_usd, first.input_text_tokens, first.duration_ms) == (Decimal("0.001250"), 120, 10)
    assert [(node.node, node.status, node.cost_usd) for node in first.trace] == [
        ("refund", "skipped", Decimal(0)),
        ("answer", "executed", Decimal("0.00125")),
    ]
    assert first.trace[1].tools == ("shopify.get_order",)
    assert [other.message_id for other in others] == ["m2", "m3"]
    assert await Reads(pool).run(first.run_id) == first
    assert await Reads(pool).run("nobody's") is None


async def test_runs_between_two_times(pool: Pool) -> None:
    runs = await Reads(pool).runs_between(START_MS + 2000, START_MS + 3000)
    assert [one.run_id for one in runs] == ["ann-run-2"]
    assert len(await Reads(pool).runs_between()) == 4


async def test_a_run_that_has_not_ended_is_running(pool: Pool) -> None:
    log = records(topics.WORKFLOW_EVENTS, run("eve", 1)[:2], partition=2)
    await (await started(pool, log)).handle(log)
    (open_run,) = await Reads(pool).runs_of("eve")
    assert (open_run.status, open_run.answer, open_run.trace) == ("running", "", ())


async def test_totals_count_every_call(pool: Pool) -> None:
    totals = await Reads(pool).totals()
    assert (totals.runs, totals.completed, totals.failed) == (4, 4, 0)
    assert (totals.model_calls, totals.action_calls, totals.input_text_tokens) == (3, 1, 360)
    assert totals.cost_usd == Decimal("0.003750")
    assert (await Reads(pool).totals(START_MS + 10**9)).runs == 0


async def test_workflows_are_listed_as_last_published(pool: Pool) -> None:
    (workflow,) = await Reads(pool).workflows()
    assert (workflow.name, workflow.version, workflow.deprecated) == ("support", "2.0.0", True)


async def test_the_four_monitoring_views_see_the_last_24_hours_alone(pool: Pool) -> None:
    views = ("agent_performance_24h", "model_usage_24h", "action_usage_24h", "workflow_cost_24h")
    assert [await pool.fetch(f"SELECT * FROM {view}") for view in views] == [[], [], [], []]
    for table, column in (
        ("agent_executions", "finished_at"),
        ("llm_routing_decisions", "occurred_at"),
        ("composio_action_usage", "occurred_at"),
        ("workflow_executions", "started_at"),
    ):
        await pool.execute(f"UPDATE {table} SET {column} = now() - interval '1 hour'")
    agents, models, actions, workflows = [[dict(row) for row in await pool.fetch(f"SELECT * FROM {view}")] for view in views]
    assert [(row["agent"], row["executions"], row["success_rate"]) for row in agents] == [("helper", 4, 1)]
    assert [(row["selected_model"], row["calls"], row["succeeded"], row["cost_usd"]) for row in models] == [
        ("tiny", 3, 2, Decimal("0.003750"))
    ]
    assert [(row["app"], row["action"], row["calls"]) for row in actions] == [("shopify", "get_order", 1)]
    assert [(row["workflow"], row["runs"], row["cost_usd"]) for row in workflows] == [("support", 4, Decimal("0.005000"))]
