"""Health and alerts from the rows, at a time that is given: what is said, when it is said again, and when it is taken back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from schemas.events import AgentHealth, Alert, RollupChanged
from streams.ledger.alerting import alerts, start_of
from streams.ledger.standing import MINIMUM_EXECUTIONS, Limits, Standing, health

HOUR = 3_600_000
NOW = int(datetime(2026, 11, 25, 18, 30, tzinfo=UTC).timestamp() * 1000)


def row(
    kind: str = "nodes",
    name: str = "a",
    *,
    hour: int = 0,
    count: int = 0,
    errors: int = 0,
    cost: int = 0,
    offset: int = 1,
    partition: int = 0,
    outcome: str = "",
) -> RollupChanged:
    """A row of `hour` hours ago."""
    return RollupChanged(
        id="r",
        time_ms=NOW,
        conversation_id="",
        kind=kind,
        source_partition=partition,
        last_offset=offset,
        hour_ms=(NOW // HOUR - hour) * HOUR,
        agent=name if kind == "nodes" else "",
        workflow=f"{name}@1.0.0" if kind != "nodes" else "",
        outcome=outcome,
        count=count,
        errors=errors,
        cost_micro_usd=cost,
    )


def standing(*rows: RollupChanged) -> Standing:
    made = Standing()
    for each in rows:
        made.apply(each)
    return made


def one_health(made: Standing, before: AgentHealth | None = None, now_ms: int = NOW) -> AgentHealth:
    (found,) = health(made, {"a": before} if before else {}, now_ms)
    return found


def said(made: Standing, limits: Limits, before: Sequence[Alert] = (), now_ms: int = NOW) -> list[Alert]:
    return list(alerts(made, [limits], [], {alert.name: alert for alert in before}, now_ms))


def test_half_of_the_executions_failing_is_unhealthy_and_one_less_is_not():
    assert not one_health(standing(row(count=20, errors=10))).healthy
    assert one_health(standing(row(count=20, errors=9))).healthy


def test_failures_for_which_an_agent_is_not_to_blame_do_not_count_against_it():
    """Neither a provider that is down, nor a budget that is spent, nor being unhealthy makes it unhealthy."""
    others = [row(count=50, errors=50, outcome=f"failed:{fault}", partition=at) for at, fault in enumerate(("models", "agents"))]
    its_own = [row(count=20, outcome="executed", partition=2), row(count=9, errors=9, outcome="failed", partition=3)]
    found = one_health(standing(*others, *its_own))
    assert (found.healthy, found.executions, found.failures) == (True, 29, 9)


def test_too_few_executions_say_nothing():
    few = MINIMUM_EXECUTIONS - 1
    assert one_health(standing(row(count=few, errors=few))).healthy
    assert not one_health(standing(row(count=few + 1, errors=few + 1))).healthy


def test_an_agent_is_healthy_again_by_itself_once_its_failures_are_a_day_old():
    made = standing(row(count=20, errors=20))
    sick = one_health(made)
    assert not sick.healthy
    assert list(health(made, {"a": sick}, NOW + 22 * HOUR)) == [], "still within the window"
    well = one_health(made, sick, NOW + 24 * HOUR)
    assert (well.healthy, well.executions, well.since_ms) == (True, 0, NOW + 24 * HOUR)


def test_health_is_said_again_only_when_it_is_another():
    made = standing(row(count=20, errors=12))
    first = one_health(made)
    assert list(health(made, {"a": first}, NOW + 60_000)) == []
    made.apply(row(count=21, errors=13, offset=2))
    later = one_health(made, first, NOW + 60_000)
    assert (later.healthy, later.failures, later.since_ms) == (False, 13, first.since_ms)


def test_partitions_add_up_and_the_order_of_their_words_does_not_matter():
    rows = [row(count=n, errors=n, offset=n, partition=p) for n in range(1, 6) for p in range(3)]
    random.Random(1).shuffle(rows)
    assert standing(*rows).sum("nodes", "a", NOW, NOW) == {"count": 15, "errors": 15, "cost": 0}


@pytest.mark.parametrize(
    ("spent", "state"), [(799, None), (800, "warning"), (999, "warning"), (1000, "critical"), (2000, "critical")]
)
def test_a_budget_warns_at_its_threshold_and_is_critical_when_it_is_gone(spent: int, state: str | None):
    found = said(standing(row("calls", "w", count=1, cost=spent)), Limits("w", daily_micro_usd=1000))
    assert [alert.state for alert in found] == ([state] if state else [])


def test_an_alert_is_said_once_and_again_when_its_state_changes():
    limits, made = Limits("w", daily_micro_usd=1000), standing(row("calls", "w", cost=850))
    (warning,) = said(made, limits)
    assert warning.name == "budget.daily.w"
    assert said(made, limits, [warning]) == []
    made.apply(row("calls", "w", cost=1100, offset=2))
    (critical,) = said(made, limits, [warning])
    assert critical.state == "critical"
    (over,) = said(made, limits, [critical], NOW + 24 * HOUR)
    assert over.state == "ok", "a new day"
    assert len({warning.id, critical.id, over.id}) == 3


def test_two_who_say_the_same_say_it_under_one_id():
    limits, made = Limits("w", daily_micro_usd=1000), standing(row("calls", "w", cost=850))
    assert said(made, limits)[0].id == said(made, limits, now_ms=NOW + 5)[0].id


def test_a_day_and_a_month_begin_in_utc():
    made = standing(
        row("calls", "w", cost=600), row("calls", "w", hour=20, cost=600), row("calls", "w", hour=26 * 24, cost=9_000)
    )
    (monthly,) = said(made, Limits("w", daily_micro_usd=1000, monthly_micro_usd=1300))
    assert (monthly.name, monthly.spent_micro_usd, monthly.state) == ("budget.monthly.w", 1200, "warning")
    assert start_of("monthly", NOW) == int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)


def test_an_error_rate_above_the_limit_alerts_and_one_at_it_does_not():
    limits = Limits("w", error_permille=100)
    assert said(standing(row("runs", "w", count=20, errors=2)), limits) == []
    (alert,) = said(standing(row("runs", "w", count=20, errors=3)), limits)
    assert (alert.name, alert.state) == ("error_rate.w", "warning")
    assert "3 of 20 runs of w failed" in alert.message
    assert said(standing(row("runs", "w", hour=2, count=20, errors=20)), limits) == [], "two hours are over"


def test_an_unhealthy_agent_is_an_alert_until_it_is_healthy():
    sick = one_health(standing(row(count=20, errors=20)))
    (alert,) = alerts(Standing(), [], [sick], {}, NOW)
    assert (alert.name, alert.state) == ("agent_health.a", "critical")
    (again,) = alerts(Standing(), [], [sick.model_copy(update={"healthy": True})], {alert.name: alert}, NOW)
    assert again.state == "ok"


def test_what_is_older_than_any_question_is_forgotten():
    made = standing(row("calls", "w", cost=5), row("calls", "w", hour=33 * 24, cost=7, partition=1))
    made.forget(NOW)
    assert made.sum("calls", "w", 0, NOW)["cost"] == 5
