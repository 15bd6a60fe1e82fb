"""Which alerts have changed: an agent's health, a workflow's error rate, a budget. Pure; time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from schemas.base import usd
from schemas.events import AgentHealth, Alert, BudgetNoticed
from schemas.events.ledger import HOUR_MS
from schemas.ids import derive
from streams.ledger.standing import ERROR_HOURS, EVERYTHING, MINIMUM_EXECUTIONS, UNHEALTHY_PERMILLE, Limits, Standing

Period = Literal["daily", "monthly"]
SETTINGS: Mapping[Period, str] = {"daily": "HIL_DAILY_BUDGET", "monthly": "HIL_MONTHLY_BUDGET"}


class Notices:
    """What workers have noticed about budgets: the worst of each, by workflow, period and limit."""

    def __init__(self) -> None:
        self._worst: dict[tuple[str, str, int, int], BudgetNoticed] = {}

    def take(self, notice: BudgetNoticed) -> None:
        key = (notice.workflow, notice.period, notice.period_start_ms, notice.limit_micro_usd)
        known = self._worst.get(key)
        if known is None or (notice.level == "exhausted", notice.spent_micro_usd) > (
            known.level == "exhausted",
            known.spent_micro_usd,
        ):
            self._worst[key] = notice

    def of(self, workflow: str, period: Period, start_ms: int, micro_usd: int) -> BudgetNoticed | None:
        """None, too, when what was noticed is of another period, or of a limit that has been changed since."""
        return self._worst.get((workflow, period, start_ms, micro_usd))

    def forget(self, before_ms: int) -> None:
        """Drop what is of periods that began earlier."""
        self._worst = {key: notice for key, notice in self._worst.items() if key[2] >= before_ms}


def alerts(
    standing: Standing,
    limits: Iterable[Limits],
    agents: Iterable[AgentHealth],
    before: Mapping[str, Alert],
    now_ms: int,
    notices: Notices | None = None,
) -> Iterator[Alert]:
    """Each alert that is another than `before` says. One that was never heard of is `ok`."""
    due = [*_of_agents(agents, now_ms)]
    for limit in limits:
        if limit.workflow != EVERYTHING:
            due.append(_error_rate(standing, limit, now_ms))
        due += _budgets(standing, limit, notices or Notices(), now_ms)
    return _changed(due, before)


def budgets(
    standing: Standing, limits: Iterable[Limits], before: Mapping[str, Alert], now_ms: int, notices: Notices
) -> Iterator[Alert]:
    """Those of budgets alone."""
    return _changed([alert for limit in limits for alert in _budgets(standing, limit, notices, now_ms)], before)


def _changed(due: Iterable[Alert], before: Mapping[str, Alert]) -> Iterator[Alert]:
    for alert in due:
        known = before.get(alert.name)
        same = alert.state == (known.state if known is not None else "ok")
        if not same or (known is not None and alert.state != "ok" and alert.period_start_ms != known.period_start_ms):
            made_of = (alert.name, alert.state, known.id if known is not None else "")
            yield alert.model_copy(update={"id": derive("alert", *made_of)})


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


def _budgets(standing: Standing, limit: Limits, notices: Notices, now_ms: int) -> Iterator[Alert]:
    bounds: tuple[tuple[Period, int | None], ...] = (("daily", limit.daily_micro_usd), ("monthly", limit.monthly_micro_usd))
    for period, micro_usd in bounds:
        if micro_usd is None:
            continue
        start_ms = start_of(period, now_ms)
        notice = notices.of(limit.workflow, period, start_ms, micro_usd)
        counted = standing.sum("calls", limit.workflow, start_ms, now_ms)["cost"]
        spent = counted if notice is None else max(counted, notice.spent_micro_usd)
        refusing = notice is not None and notice.level == "exhausted"
        near = notice is not None or spent * 1000 >= micro_usd * limit.alert_permille
        over = refusing or spent >= micro_usd
        state = "critical" if over and (spent or refusing) else "warning" if near and spent else "ok"
        whole = limit.workflow == EVERYTHING
        setting = SETTINGS[period] if whole else f"cost_controls.{period}_budget"
        who = (
            f"all workflows together have spent ${usd(spent)} of the"
            if whole
            else f"{limit.workflow} has spent ${usd(spent)} of its"
        )
        then = "" if state == "ok" else f"{', and calls are refused' if over else ''}: raise {setting}, or wait"
        yield Alert(
            id="",
            time_ms=now_ms,
            conversation_id="",
            name=f"budget.{period}" if whole else f"budget.{period}.{limit.workflow}",
            kind="budget",
            state=state,
            message=f"{who} {period} budget of ${usd(micro_usd)} (since {_day(start_ms)} UTC){then}",
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
