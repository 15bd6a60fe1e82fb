"""How things stand: totals over all partitions, the health of agents, which alerts have changed. Pure; time is an argument."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from schemas.base import usd
from schemas.events import AgentHealth, Alert, RollupChanged
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

Period = Literal["daily", "monthly"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a workflow's definition says about money and errors."""

    workflow: str
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
        name = row.agent if row.kind == "nodes" else row.workflow.partition("@")[0]
        if row.kind == "actions" or not name:
            return
        old = self._rows.get(row.key, (-1, 0, 0, 0, 0))
        if row.last_offset <= old[0]:
            return
        hour = row.hour_ms // HOUR_MS
        self._rows[row.key] = (row.last_offset, hour, row.count, row.errors, row.cost_micro_usd)
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


def alerts(
    standing: Standing, limits: Iterable[Limits], agents: Iterable[AgentHealth], before: Mapping[str, Alert], now_ms: int
) -> Iterator[Alert]:
    """Each alert whose state is another than `before` says; one that was never heard of is `ok`."""
    due = [*_of_agents(agents, now_ms)]
    for limit in limits:
        due.append(_error_rate(standing, limit, now_ms))
        due += _budgets(standing, limit, now_ms)
    for alert in due:
        known = before.get(alert.name)
        if alert.state != (known.state if known is not None else "ok"):
            yield alert.model_copy(update={"id": derive("alert", alert.name, alert.state, known.id if known is not None else "")})


def _of_agents(agents: Iterable[AgentHealth], now_ms: int) -> Iterator[Alert]:
    for agent in agents:
        how = f"unhealthy: {agent.reason}. Others take its work, if any can" if not agent.healthy else "healthy"
        yield Alert(
            id="",
            time_ms=now_ms,
            conversation_id="",
            name=f"agent_health.{agent.agent}",
            kind="agent_health",
            state="ok" if agent.healthy else "critical",
            message=f"agent {agent.agent} is {how}",
            agent=agent.agent,
            executions=agent.executions,
            failures=agent.failures,
            threshold_permille=UNHEALTHY_PERMILLE,
        )


def _error_rate(standing: Standing, limit: Limits, now_ms: int) -> Alert:
    sums = standing.sum("runs", limit.workflow, now_ms - (ERROR_HOURS - 1) * HOUR_MS, now_ms)
    runs, failures = sums["count"], sums["errors"]
    firing = runs >= MINIMUM_EXECUTIONS and failures * 1000 > runs * limit.error_permille
    rate = f"{failures} of {runs} runs of {limit.workflow} failed in this hour and the last"
    return Alert(
        id="",
        time_ms=now_ms,
        conversation_id="",
        name=f"error_rate.{limit.workflow}",
        kind="error_rate",
        state="warning" if firing else "ok",
        message=f"{rate}; the limit is {limit.error_permille / 10:g} %" + (": see `hil watch workflow.events`" if firing else ""),
        workflow=limit.workflow,
        executions=runs,
        failures=failures,
        threshold_permille=limit.error_permille,
    )


def _budgets(standing: Standing, limit: Limits, now_ms: int) -> Iterator[Alert]:
    budgets: tuple[tuple[Period, int | None], ...] = (("daily", limit.daily_micro_usd), ("monthly", limit.monthly_micro_usd))
    for period, micro_usd in budgets:
        if micro_usd is None:
            continue
        start_ms = start_of(period, now_ms)
        spent = standing.sum("calls", limit.workflow, start_ms, now_ms)["cost"]
        over, near = spent >= micro_usd, spent * 1000 >= micro_usd * limit.alert_permille
        state = "ok" if not spent or not near else "critical" if over else "warning"
        spoken = f"{limit.workflow} has spent ${usd(spent)} of its {period} budget of ${usd(micro_usd)}"
        yield Alert(
            id="",
            time_ms=now_ms,
            conversation_id="",
            name=f"budget.{period}.{limit.workflow}",
            kind="budget",
            state=state,
            message=f"{spoken} (since {_day(start_ms)} UTC)" + ("" if state == "ok" else f": raise {period}_budget, or wait"),
            workflow=limit.workflow,
            period=period,
            period_start_ms=start_ms,
            spent_micro_usd=spent,
            limit_micro_usd=micro_usd,
            threshold_permille=limit.alert_permille,
        )


def start_of(period: Period, now_ms: int) -> int:
    """The first millisecond of the day or the month, in UTC."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((now if period == "daily" else now.replace(day=1)).timestamp() * 1000)


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
