"""The view `circuit_breaker_state`: what each worker said last of each model, as a number that can be drawn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from schemas import topics
from schemas.events import Alert
from tests.integration.projector_log import alert, records, started

pytestmark = pytest.mark.postgres
HOUR_MS = 3_600_000


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    yield pool
    await pool.close()


def said(state: str, at_ms: int, *, model: str = "a", worker: str = "w1", until_ms: int = 0) -> Alert:
    return Alert(
        id=f"{worker}-{model}-{at_ms}",
        time_ms=at_ms,
        conversation_id="",
        name=f"breaker.{model}@{worker}",
        kind="breaker",
        state="ok" if state == "closed" else "critical",
        message="…",
        model=model,
        worker=worker,
        breaker=state,
        until_ms=until_ms,
    )


async def shown(pool: Pool, *alerts: Alert) -> list[tuple[str, str, str, int]]:
    lying = records(topics.ALERTS, [alert("warning"), *alerts])
    await (await started(pool, lying)).handle(lying)
    rows = await pool.fetch("SELECT model, worker, state, value FROM circuit_breaker_state")
    return [tuple(row) for row in rows]


async def test_the_latest_word_of_each_worker_about_each_model_is_its_state(pool: Pool) -> None:
    now_ms = time.time_ns() // 1_000_000
    found = await shown(
        pool,
        said("open", now_ms - 9, until_ms=now_ms + 60_000),
        said("half_open", now_ms - 8),
        said("cooling", now_ms - 7, worker="w2", until_ms=now_ms + 10_000),
        said("open", now_ms - 6, model="b", until_ms=now_ms + 60_000),
        said("half_open", now_ms - 5, model="b"),
        said("closed", now_ms - 4, model="b"),
    )
    assert found == [("a", "w2", "cooling", 2), ("a", "w1", "half_open", 1), ("b", "w1", "closed", 0)]


async def test_a_state_that_should_have_ended_an_hour_ago_is_not_shown(pool: Pool) -> None:
    """Its worker was killed, or nobody calls the model: either way nothing is known."""
    now_ms = time.time_ns() // 1_000_000
    gone = said("open", now_ms - 3 * HOUR_MS, until_ms=now_ms - 2 * HOUR_MS)
    stuck = said("half_open", now_ms - 3 * HOUR_MS, model="b")
    recent = said("open", now_ms - 3 * HOUR_MS, model="c", until_ms=now_ms - HOUR_MS // 2)
    assert await shown(pool, gone, stuck, recent) == [("c", "w1", "open", 3)]
