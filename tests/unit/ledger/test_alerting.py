"""Budgets as one voice says them: of a workflow and of everything, by what was counted and by what workers have noticed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from schemas.events import Alert, BudgetNoticed
from streams.ledger.alerting import Notices, alerts, budgets, start_of
from streams.ledger.overseer import limits_of_all
from streams.ledger.standing import EVERYTHING, Limits, Standing
from tests.unit.ledger.test_standing import HOUR, NOW, row, standing

DAILY = Limits("w", daily_micro_usd=1000)


def notice(level: str = "alert", *, spent: int = 800, limit: int = 1000, workflow: str = "w", days_ago: int = 0) -> BudgetNoticed:
    return BudgetNoticed(
        id=f"{level}-{spent}",
        time_ms=NOW,
        conversation_id="",
        workflow=workflow,
        period="daily",
        period_start_ms=start_of("daily", NOW - days_ago * 24 * HOUR),
        level=level,
        spent_micro_usd=spent,
        limit_micro_usd=limit,
    )


def said(
    notices: Sequence[BudgetNoticed], *, made: Standing | None = None, limits: Limits = DAILY, before: Sequence[Alert] = ()
) -> list[Alert]:
    noticed = Notices()
    for each in notices:
        noticed.take(each)
    return list(budgets(made or Standing(), [limits], {alert.name: alert for alert in before}, NOW, noticed))


def test_any_number_of_workers_noticing_a_budget_is_one_alert():
    (alert,) = said([notice(spent=800 + worker) for worker in range(20)])
    assert (alert.name, alert.state, alert.spent_micro_usd) == ("budget.daily.w", "warning", 819)
    assert said([notice(spent=900)], before=[alert]) == []


def test_what_the_ledger_counts_later_says_nothing_again():
    (alert,) = said([notice()])
    assert said([notice()], made=standing(row("calls", "w", cost=850)), before=[alert]) == []


def test_a_budget_that_refuses_calls_is_critical_though_something_is_left():
    """The next call would have cost more than what is left: nobody but the workers knows."""
    (alert,) = said([notice("exhausted", spent=960), notice(spent=990)])
    assert (alert.state, alert.spent_micro_usd) == ("critical", 960)
    assert "calls are refused: raise cost_controls.daily_budget, or wait" in alert.message


@pytest.mark.parametrize(
    "elsewhere",
    [notice(days_ago=1), notice(limit=500), notice(workflow="v")],
    ids=["another day", "another limit", "another workflow"],
)
def test_a_notice_about_something_else_says_nothing(elsewhere: BudgetNoticed):
    assert said([elsewhere]) == []


def test_the_budget_of_everything_adds_up_all_workflows():
    made = standing(row("calls", "w", cost=500), row("calls", "v", cost=400, partition=1))
    (of_all,) = limits_of_all(Decimal("0.001"), None)
    (alert,) = said([], made=made, limits=of_all)
    assert (alert.name, alert.state, alert.spent_micro_usd, alert.workflow) == ("budget.daily", "warning", 900, "")
    assert "raise HIL_DAILY_BUDGET" in alert.message
    assert said([], made=made, limits=Limits(EVERYTHING, daily_micro_usd=2000)) == []
    assert limits_of_all(None, None) == []


def test_the_budget_of_everything_has_no_error_rate():
    assert list(alerts(standing(row("runs", "", count=90, errors=90)), [Limits(EVERYTHING, 1)], [], {}, NOW)) == []


def test_a_new_day_that_is_over_its_threshold_at_once_is_said_again():
    """Nobody looked at midnight, so nobody said `ok` in between."""
    (alert,) = said([notice()])
    yesterday = alert.model_copy(update={"period_start_ms": start_of("daily", NOW - 24 * HOUR)})
    (today,) = said([notice()], before=[yesterday])
    assert today.id != yesterday.id
    assert said([notice()], before=[today]) == []


def test_notices_of_long_ago_are_forgotten():
    noticed = Notices()
    noticed.take(notice())
    noticed.forget(NOW + HOUR)
    assert noticed.of("w", "daily", start_of("daily", NOW), 1000) is None
