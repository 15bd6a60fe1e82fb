"""The books of shared limits, for people: how far each is used, and what workers that are gone still hold."""

from __future__ import annotations

from dataclasses import dataclass

from agents.router.limits import EVERYTHING
from connectors.postgres.errors import in_words
from connectors.postgres.pool import Pool
from connectors.postgres.values import moment

_COUNT = """
SELECT least(coalesce(sum(cost_micro_usd), 0), 9223372036854775807)::bigint FROM llm_routing_decisions
WHERE ($1::text IS NULL OR split_part(workflow, '@', 1) = $1)
  AND occurred_at >= to_date($2, 'YYYY-MM-DD')::timestamp AT TIME ZONE 'UTC'
  AND occurred_at < (to_date($2, 'YYYY-MM-DD') + CASE WHEN $3::bool THEN interval '1 day' ELSE interval '1 month' END)
                    AT TIME ZONE 'UTC' + interval '1 hour'
"""
"""A call is told of when it has ended, so an hour of the next period counts too: too much is safe, too little is not."""
_WORKFLOW = "workflow "


@dataclass(frozen=True, slots=True)
class Use:
    """How far a limit is used, in micro-dollars."""

    scope: str
    period: str
    limit: int
    """As it was last asked with."""
    spent: int
    held: int
    """By workers, spent or not, beyond what they told."""
    held_by_expired: int
    """Of `held`: by workers that are gone."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    scope: str
    period: str
    freed: int
    """Micro-dollars."""


async def used(pool: Pool) -> list[Use]:
    """Every limit that was ever asked for, the latest period first."""
    with in_words("reading budgets"):
        rows = await pool.fetch("SELECT * FROM budget_use ORDER BY period DESC, scope")
    return [Use(*row) for row in rows]


async def reconcile(pool: Pool, scope: str, period: str, counted_micro_usd: int, *, until_ms: int) -> int:
    """Let go of what workers held whose leases ended before `until_ms`; micro-dollars that become free.

    `counted_micro_usd`: all that the log says was spent of this scope in this period, at least by workers that are gone. Count it
    after their leases ended, or what they spent would be forgotten.
    """
    with in_words("reconciling budgets"):
        freed: int = await pool.fetchval(
            "SELECT budget_reconcile($1, $2, $3, $4)", scope, period, counted_micro_usd, moment(until_ms)
        )
    return freed


async def counted(pool: Pool, scope: str, period: str) -> int:
    """What the projected log says was spent, in micro-dollars, rather too much than too little."""
    name = None if scope == EVERYTHING else scope.removeprefix(_WORKFLOW)
    day = len(period) == len("YYYY-MM-DD")
    with in_words("counting what was spent"):
        total: int = await pool.fetchval(_COUNT, name, period if day else f"{period}-01", day)
    return total


async def reconcile_all(pool: Pool, *, until_ms: int) -> list[Reconciled]:
    """Every limit that somebody who is gone holds of. The projector must have caught up with the log."""
    return [
        Reconciled(
            use.scope,
            use.period,
            await reconcile(pool, use.scope, use.period, await counted(pool, use.scope, use.period), until_ms=until_ms),
        )
        for use in await used(pool)
        if use.held_by_expired
    ]
