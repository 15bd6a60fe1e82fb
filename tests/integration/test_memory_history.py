"""The conversation so far, as of the message being answered, on a projection that may be behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agents.errors import Retryable
from agents.ports import HistoryMessage
from connectors.embeddings import WordLlamaEmbedder
from connectors.postgres.knowledge import KnowledgeStore
from connectors.postgres.memory import PostgresMemory
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from schemas import topics
from tests.integration.projector_log import records, run, started

pytestmark = pytest.mark.postgres


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    yield pool
    await pool.close()


def _memory(pool: Pool, patience_seconds: float) -> PostgresMemory:
    return PostgresMemory(pool, KnowledgeStore(pool, WordLlamaEmbedder()), patience_seconds=patience_seconds)


def _turns(count: int) -> list[HistoryMessage]:
    return [
        message
        for turn in range(1, count + 1)
        for message in (HistoryMessage("customer", f"question {turn}"), HistoryMessage("agent", f"answer {turn}"))
    ]


async def _project(pool: Pool, turns: int) -> None:
    events = [event for t in range(1, turns + 1) for event in run("ann", t, question=f"question {t}", answer=f"answer {t}")]
    log = records(topics.WORKFLOW_EVENTS, events)
    await (await started(pool, log)).handle(log)


async def test_history_is_what_was_said_before_oldest_first(pool: Pool) -> None:
    await _project(pool, 4)
    assert await _memory(pool, 0).history("ann", before=7, limit=50) == _turns(3)


async def test_of_a_long_conversation_the_last_messages_are_given(pool: Pool) -> None:
    await _project(pool, 4)
    assert await _memory(pool, 0).history("ann", before=9, limit=3) == _turns(4)[-3:]


async def test_the_first_message_has_no_history_and_asks_no_database() -> None:
    memory = PostgresMemory(None, None)  # type: ignore[arg-type]
    assert await memory.history("ann", before=1, limit=50) == []
    assert await memory.history("ann", before=9, limit=0) == []


async def test_history_waits_for_a_projection_that_is_behind(pool: Pool) -> None:
    await _project(pool, 1)
    waiting = asyncio.create_task(_memory(pool, 30).history("ann", before=5, limit=50))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    await _project(pool, 2)
    assert await waiting == _turns(2)


async def test_a_projection_that_stays_behind_is_retryable_and_names_the_gap(pool: Pool) -> None:
    await _project(pool, 1)
    with pytest.raises(Retryable, match=r"conversation ann ends at message 2 in Postgres, and 4 is needed"):
        await _memory(pool, 0.05).history("ann", before=5, limit=50)


async def test_a_gap_inside_the_window_is_not_passed_over(pool: Pool) -> None:
    await _project(pool, 3)
    await pool.execute("DELETE FROM messages WHERE ordinal = 4")
    with pytest.raises(Retryable):
        await _memory(pool, 0).history("ann", before=7, limit=5)
    assert len(await _memory(pool, 0).history("ann", before=7, limit=2)) == 2, "what lies before the window does not matter"


async def test_a_database_that_is_gone_is_retryable(pool: Pool) -> None:
    memory = _memory(pool, 0)
    await pool.close()
    with pytest.raises(Retryable, match="conversation ann cannot be read from Postgres"):
        await memory.history("ann", before=3, limit=50)
    with pytest.raises(Retryable, match="knowledge base"):
        await memory.knowledge("returns", top_k=3)
