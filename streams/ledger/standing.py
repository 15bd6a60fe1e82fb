"""How things stand: totals over all partitions, and the health of agents. Pure; time is an argument."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.events import AgentHealth, RollupChanged
from schemas.events.ledger import HOUR_MS
from schemas.ids import derive

HEALTH_HOURS = 24
UNHEALTHY_PERMILLE = 500
MINIMUM_EXECUTIONS = 10
"""Ended nodes, or runs, below which nothing is said about an error rate."""
ERROR_HOURS = 2
"""Of runs, for alerts: the present hour and the one before it."""
DEFAULT_ERROR_PERMILLE = 100
DEFAULT_BUDGET_PERMILLE = 800
KEPT_HOURS = 32 * 24
EVERYTHING = ""
"""The name under which the spending of all workflows together is added up, and limited."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a workflow's definition says about money and errors, or the settings about the money of all."""

    workflow: str
    """EVERYTHING: the limits of all together, which have no error rate."""
    daily_micro_usd: int | None = None
    monthly_micro_usd: int | None = None
    alert_permille: int = DEFAULT_BUDGET_PERMILLE
    error_permille: int = DEFAULT_ERROR_PERMILLE


class Standing:
    """Sums of the rows of all partitions by hour, kept up to date row by row, in any order."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, int, int, int, int]] = {}
        """Key → (last offset, hour, count, errors, cost)."""
        self._sums: dict[tuple[str, str], dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        """(kind, name) → hour → what happened in it."""

    def apply(self, row: RollupChanged) -> None:
        """Take in what a row is now. An older word about it changes nothing."""
        names = _names(row)
        if not names:
            return
        old = self._rows.get(row.key, (-1, 0, 0, 0, 0))
        if row.last_offset <= old[0]:
            return
        hour = row.hour_ms // HOUR_MS
        self._rows[row.key] = (row.last_offset, hour, row.count, row.errors, row.cost_micro_usd)
        for name in names:
            sums = self._sums[row.kind, name][hour]
            sums["count"] += row.count - old[2]
            sums["errors"] += row.errors - old[3]
            sums["cost"] += row.cost_micro_usd - old[4]

    def forget(self, now_ms: int) -> None:
        """Drop what is older than any question asked of it."""
        first = now_ms // HOUR_MS - KEPT_HOURS
        self._rows = {key: row for key, row in self._rows.items() if row[1] >= first}
        for hours in self._sums.values():
            for hour in [hour for hour in hours if hour < first]:
                del hours[hour]

    def agents(self) -> list[str]:
        return sorted(name for kind, name in self._sums if kind == "nodes")

    def sum(self, kind: str, name: str, since_ms: int, now_ms: int) -> Counter[str]:
        """`count`, `errors` and `cost` of the hours from `since_ms` on, up to the present one."""
        total: Counter[str] = Counter()
        for hour, sums in self._sums.get((kind, name), {}).items():
            if since_ms // HOUR_MS <= hour <= now_ms // HOUR_MS:
                total.update(sums)
        return total


def _names(row: RollupChanged) -> tuple[str, ...]:
    """Whose sums a row is part of."""
    workflow = row.workflow.partition("@")[0]
    match row.kind:
        case "nodes":
            blameless = ":" in row.outcome  # `failed:budget`: it says nothing about the agent
            return (row.agent,) if row.agent and not blameless else ()
        case "calls":
            return tuple({workflow, EVERYTHING})
        case "runs":
            return (workflow,) if workflow else ()
    return ()


def health(standing: Standing, before: Mapping[str, AgentHealth], now_ms: int) -> Iterator[AgentHealth]:
    """Each agent of which something else is true now than `before` says. One that no longer fails is healthy by itself."""
    since_ms = now_ms - (HEALTH_HOURS - 1) * HOUR_MS
    for agent in sorted({*standing.agents(), *before}):
        sums = standing.sum("nodes", agent, since_ms, now_ms)
        executions, failures = sums["count"], sums["errors"]
        healthy = executions < MINIMUM_EXECUTIONS or failures * 1000 < executions * UNHEALTHY_PERMILLE
        known = before.get(agent)
        if known is not None and (known.healthy, known.executions, known.failures) == (healthy, executions, failures):
            continue
        changed = known is None or known.healthy is not healthy
        yield AgentHealth(
            id=derive("agent.health", agent, executions, failures, known.id if known is not None else ""),
            time_ms=now_ms,
            conversation_id="",
            agent=agent,
            healthy=healthy,
            executions=executions,
            failures=failures,
            window_ms=HEALTH_HOURS * HOUR_MS,
            since_ms=now_ms if changed or known is None else known.since_ms,
            reason="" if healthy else f"{failures} of {executions} executions failed within {HEALTH_HOURS} hours",
        )
