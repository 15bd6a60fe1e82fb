"""Questions about money to the projection of the ledger. Everything is as old as the ledger and the projector are behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from connectors.postgres.pool import Pool
from connectors.postgres.values import moment
from schemas.sketch import from_json, merged, quantile

Dimension = Literal["model", "agent", "workflow", "node"]
_COLUMN: Mapping[Dimension, str] = {"model": "model", "agent": "agent", "workflow": "workflow", "node": "node_id"}
_SUMS = """
       sum(count) AS calls, sum(errors) AS errors, sum(cost_micro_usd) AS cost_micro_usd,
       sum(input_text_tokens) AS input_text_tokens, sum(cached_text_tokens) AS cached_text_tokens,
       sum(cache_write_text_tokens) AS cache_write_text_tokens, sum(output_text_tokens) AS output_text_tokens,
       sum(reasoning_text_tokens) AS reasoning_text_tokens, sum(latency_ms) AS latency_ms,
       jsonb_agg(latency) AS sketches
"""
_WHERE = "FROM cost_rollups WHERE kind = 'calls' AND hour >= $1 AND hour < $2"
_CALLS = """
SELECT requested_profile AS profile, selected_model AS model, workflow, node_id,
       input_text_tokens, cached_text_tokens, cache_write_text_tokens,
       output_text_tokens, reasoning_text_tokens, sum(cost_micro_usd) AS cost_micro_usd, count(*) AS calls
FROM llm_routing_decisions WHERE occurred_at >= $1 AND occurred_at < $2
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""


@dataclass(frozen=True, slots=True)
class CostRow:
    """What attempts at models came to, in one period, of one thing."""

    start: datetime
    """Of the period, in UTC."""
    name: str
    """The model, agent, workflow or node; empty for all of them together."""
    calls: int
    errors: int
    cost_micro_usd: int
    input_text_tokens: int
    cached_text_tokens: int
    cache_write_text_tokens: int
    output_text_tokens: int
    reasoning_text_tokens: int
    mean_ms: int
    p50_ms: int
    p95_ms: int


@dataclass(frozen=True, slots=True)
class Calls:
    """Attempts of one node at one model with the same token counts."""

    profile: str
    model: str
    workflow: str
    node_id: str
    input_text_tokens: int
    cached_text_tokens: int
    cache_write_text_tokens: int
    output_text_tokens: int
    reasoning_text_tokens: int
    cost_micro_usd: int
    """Of all of them."""
    calls: int


class Costs:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def rows(
        self, unit: Literal["hour", "day", "month"], since_ms: int, until_ms: int, *, by: Dimension | None = None
    ) -> list[CostRow]:
        """One row a period and, with `by`, a value of it, for whole hours in [since, until); the dearest first in each period."""
        name = _COLUMN[by] if by is not None else "''"
        rows = await self._pool.fetch(
            f"SELECT date_trunc('{unit}', hour, 'UTC') AS start, {name} AS name, {_SUMS} {_WHERE} "
            "GROUP BY 1, 2 ORDER BY 1, cost_micro_usd DESC, calls DESC, 2",
            moment(since_ms),
            moment(until_ms),
        )
        return [_row(_whole(row)) for row in rows]

    async def total(self, since_ms: int, until_ms: int) -> int:
        """Micro-dollars in the whole hours of [since, until)."""
        found = await self._pool.fetchval(
            f"SELECT coalesce(sum(cost_micro_usd), 0) {_WHERE}",
            moment(since_ms),
            moment(until_ms),
        )
        return int(found)

    async def calls(self, since_ms: int, until_ms: int) -> list[Calls]:
        """Every attempt in [since, until), those with the same counts together."""
        rows = await self._pool.fetch(_CALLS, moment(since_ms), moment(until_ms))
        return [Calls(**_whole(row)) for row in rows]


def _whole(row: Any) -> dict[str, Any]:
    """Sums are as large as they are: Postgres has them as decimals, so that one absurd row breaks no report."""
    return {name: int(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _row(row: dict[str, Any]) -> CostRow:
    sketch = merged(from_json(part) for part in json.loads(row.pop("sketches")))
    total_ms = row.pop("latency_ms")
    return CostRow(
        **row,
        mean_ms=round(total_ms / row["calls"]) if row["calls"] else 0,
        p50_ms=round(quantile(sketch, 0.5) or 0),
        p95_ms=round(quantile(sketch, 0.95) or 0),
    )
