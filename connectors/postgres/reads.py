"""What the terminal and the tables of a run show: questions to the projection, answered in plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from connectors.postgres.pool import Pool
from connectors.postgres.values import clean_text, moment


@dataclass(frozen=True, slots=True)
class NodeTrace:
    """What became of one node of a finished run."""

    node: str
    agent: str
    status: str
    duration_ms: int
    attempts: int
    cost_usd: Decimal
    tools: tuple[str, ...]
    models: tuple[str, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class Run:
    run_id: str
    conversation_id: str
    message_id: str
    workflow: str
    version: str
    status: str
    """`running` until it ends."""
    question: str
    answer: str
    error: str | None
    started_at: datetime | None
    duration_ms: int
    cost_usd: Decimal
    input_text_tokens: int
    output_text_tokens: int
    trace: tuple[NodeTrace, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    runs: int
    completed: int
    failed: int
    """Runs that ended in any other way than `completed`."""
    model_calls: int
    action_calls: int
    input_text_tokens: int
    output_text_tokens: int
    cost_usd: Decimal
    """Of every model call, failed attempts included."""


@dataclass(frozen=True, slots=True)
class WorkflowVersion:
    name: str
    version: str
    digest: str
    deprecated: bool
    published_at: datetime


_RUNS = """
SELECT w.*, m.text AS question
FROM workflow_executions AS w LEFT JOIN messages AS m ON m.conversation_id = w.conversation_id AND m.ordinal = w.ordinal
"""
_TOTALS = """
SELECT runs, completed, failed, model_calls, action_calls, input_text_tokens, output_text_tokens, cost_usd
FROM (
    SELECT count(*) AS runs,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status <> 'completed') AS failed
    FROM workflow_executions WHERE started_at >= $1 AND started_at < $2
) AS of_runs, (
    SELECT count(*) AS model_calls,
           least(coalesce(sum(input_text_tokens), 0), 9223372036854775807)::bigint AS input_text_tokens,
           least(coalesce(sum(output_text_tokens), 0), 9223372036854775807)::bigint AS output_text_tokens,
           coalesce(sum(cost_usd), 0) AS cost_usd
    FROM llm_routing_decisions WHERE occurred_at >= $1 AND occurred_at < $2
) AS of_calls, (
    SELECT count(*) AS action_calls FROM composio_action_usage WHERE occurred_at >= $1 AND occurred_at < $2
) AS of_actions
"""
_FOREVER_MS = 253_402_214_400_000


class Reads:
    """Read-only questions. Everything is as old as the projector is behind."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self, run_id: str) -> Run | None:
        row = await self._pool.fetchrow(f"{_RUNS} WHERE w.run_id = $1", clean_text(run_id))
        return None if row is None else _run(row)

    async def runs_of(self, conversation_id: str, *, limit: int = 100) -> list[Run]:
        """The conversation's runs, in the order of its messages."""
        rows = await self._pool.fetch(
            f"{_RUNS} WHERE w.conversation_id = $1 ORDER BY w.ordinal LIMIT $2", clean_text(conversation_id), limit
        )
        return [_run(row) for row in rows]

    async def runs_between(self, since_ms: int = 0, until_ms: int = _FOREVER_MS, *, limit: int = 1000) -> list[Run]:
        """Runs started in [since, until), oldest first."""
        rows = await self._pool.fetch(
            f"{_RUNS} WHERE w.started_at >= $1 AND w.started_at < $2 ORDER BY w.started_at, w.run_id LIMIT $3",
            moment(since_ms),
            moment(until_ms),
            limit,
        )
        return [_run(row) for row in rows]

    async def totals(self, since_ms: int = 0, until_ms: int = _FOREVER_MS) -> Totals:
        """Counts, tokens and cost of what happened in [since, until)."""
        row = await self._pool.fetchrow(_TOTALS, moment(since_ms), moment(until_ms))
        assert row is not None, "aggregates always give one row"
        return Totals(**dict(row))

    async def workflows(self) -> list[WorkflowVersion]:
        """Every published version, newest first within a name."""
        rows = await self._pool.fetch(
            "SELECT name, version, digest, deprecated, published_at FROM workflow_registry "
            "ORDER BY name, published_at DESC, digest"
        )
        return [WorkflowVersion(**dict(row)) for row in rows]


def _run(row: asyncpg.Record) -> Run:
    return Run(
        run_id=row["run_id"],
        conversation_id=row["conversation_id"],
        message_id=row["message_id"],
        workflow=row["workflow"],
        version=row["version"],
        status=row["status"] or "running",
        question=row["question"] or "",
        answer=row["text"] or "",
        error=row["error"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"] or 0,
        cost_usd=row["cost_usd"] or Decimal(0),
        input_text_tokens=row["input_text_tokens"] or 0,
        output_text_tokens=row["output_text_tokens"] or 0,
        trace=tuple(_node(entry) for entry in json.loads(row["trace"] or "[]", parse_float=Decimal)),
    )


def _node(entry: dict[str, Any]) -> NodeTrace:
    return NodeTrace(
        node=entry["node"],
        agent=entry["agent"] or "",
        status=entry["status"],
        duration_ms=entry["duration_ms"] or 0,
        attempts=entry["attempts"] or 0,
        cost_usd=Decimal(entry["cost_usd"] or 0),
        tools=tuple(entry["tools"] or ()),
        models=tuple(entry["models"] or ()),
        error=entry["error"],
    )
