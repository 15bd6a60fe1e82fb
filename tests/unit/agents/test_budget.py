"""Reserve, settle, release, in any order: what is spent and reserved never exceeds what was granted."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import Fatal
from agents.router.budget import ComposedBudget, OverBudget
from agents.router.limits import BudgetAlert, Limit, daily, dollars, micro, monthly
from agents.router.purse import LocalPurse

CENT = 10_000
NOON = 1_764_072_000_000  # 2025-11-25T12:00:00Z


def limit(cents: int = 100, name: str = "w", threshold: str = "0.8") -> Limit:
    return daily(f"workflow {name}", NOON, Decimal(cents) / 100, "cost_controls.daily_budget", Decimal(threshold))


def purse(cents: int = 100, **more: int) -> LocalPurse:
    return LocalPurse(limit(cents), cents * CENT, **more)


@given(
    st.integers(0, 100),
    st.integers(0, 100),
    st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release", "settle", "close"]), st.integers(0, 30)), max_size=60),
)
def test_in_any_order_no_purse_is_spent_or_reserved_beyond_what_it_has(one: int, two: int, steps: list[tuple[str, int]]):
    async def play() -> None:
        purses = [purse(one), purse(two)]
        budget = ComposedBudget(purses)
        open_: list[tuple[int, object]] = []
        spent = 0
        for step, amount in steps:
            if step == "reserve":
                left = min(one, two) - spent - sum(reserved for reserved, _ in open_)
                try:
                    open_.append((amount, await budget.reserve(amount * CENT)))
                    assert amount <= left, "more was given than there was"
                except OverBudget:
                    assert amount > left, "what would have fitted was refused"
            elif step == "close":
                budget.close()
                spent += sum(reserved for reserved, _ in open_)
                open_.clear()
            elif open_:
                reserved, reservation = open_.pop(amount % len(open_))
                actual = min(reserved, amount) if step == "settle" else 0
                await (reservation.settle(actual * CENT) if step == "settle" else reservation.release())
                await reservation.release()  # a second end changes nothing
                spent += actual
            for each in purses:
                assert each.spent == spent * CENT
                assert each.reserved == CENT * sum(reserved for reserved, _ in open_)
                assert each.spent + each.reserved <= each.granted

    asyncio.run(play())


async def test_fifty_calls_of_five_cents_at_once_spend_one_dollar():
    budget = ComposedBudget([purse(100)])
    made = 0

    async def call() -> None:
        nonlocal made
        reservation = await budget.reserve(5 * CENT)
        await asyncio.sleep(0)
        made += 1
        await reservation.settle(5 * CENT)

    results = await asyncio.gather(*(call() for _ in range(50)), return_exceptions=True)
    assert made == 20
    assert sum(isinstance(result, OverBudget) for result in results) == 30


async def test_more_than_was_reserved_counts_in_full():
    one = purse(100)
    await (await ComposedBudget([one]).reserve(CENT)).settle(150 * CENT)
    assert (one.spent, one.reserved, one.tightness()) == (150 * CENT, 0, "exhausted")


async def test_what_the_second_limit_refuses_is_not_held_in_the_first():
    one, two = purse(100), purse(1)
    with pytest.raises(OverBudget):
        await ComposedBudget([one, two]).reserve(2 * CENT)
    assert (one.reserved, two.reserved) == (0, 0)


async def test_a_refusal_names_the_budget_its_limit_what_is_spent_and_when_it_renews():
    one = purse(100)
    budget = ComposedBudget([one])
    await (await budget.reserve(98 * CENT)).settle(98 * CENT)
    with pytest.raises(OverBudget) as refused:
        await budget.reserve(5 * CENT)
    assert str(refused.value) == (
        "the daily budget of workflow w for 2025-11-25 leaves too little for this call, which may cost $0.05: "
        "$0.98 of $1.00 are spent. It renews at 2025-11-26T00:00:00Z. "
        "Raise cost_controls.daily_budget, or choose a cheaper profile"
    )
    assert (refused.value.scope, refused.value.held) == ("workflow w", False)
    assert isinstance(refused.value, Fatal)


async def test_a_refusal_says_when_the_rest_is_only_reserved():
    budget = ComposedBudget([purse(100)])
    await budget.reserve(98 * CENT)
    with pytest.raises(OverBudget, match="reserved by calls that have not ended") as refused:
        await budget.reserve(5 * CENT)
    assert refused.value.held


async def test_what_costs_nothing_passes_an_exhausted_budget():
    budget = ComposedBudget([purse(0)])
    await (await budget.reserve(0)).settle(0)
    assert budget.tightness() == "exhausted"


async def test_tightness_is_that_of_the_tightest_limit():
    one, two = purse(100), purse(1000)
    budget = ComposedBudget([two, one])
    assert budget.tightness() == "ok"
    await (await budget.reserve(80 * CENT)).settle(80 * CENT)
    assert (two.tightness(), budget.tightness()) == ("ok", "alert")
    await (await budget.reserve(20 * CENT)).settle(20 * CENT)
    assert budget.tightness() == "exhausted"


async def test_people_are_told_once_when_a_limit_is_nearly_reached_and_once_when_it_is():
    told: list[BudgetAlert] = []
    budget = ComposedBudget([LocalPurse(limit(100), 100 * CENT, on_alert=told.append)])
    for _ in range(20):
        await (await budget.reserve(5 * CENT)).settle(5 * CENT)
    for _ in range(2):
        with pytest.raises(OverBudget):
            await budget.reserve(5 * CENT)
    assert [(alert.level, alert.spent_micro_usd) for alert in told] == [("alert", 80 * CENT), ("exhausted", 100 * CENT)]
    assert str(told[0]) == (
        "the daily budget of workflow w for 2025-11-25: $0.80 of $1.00 are spent, so cheaper models are preferred "
        "until 2025-11-26T00:00:00Z. Raise cost_controls.daily_budget to go on"
    )
    again: list[BudgetAlert] = []
    LocalPurse(limit(100), 0, others=85 * CENT, on_alert=again.append).look()
    assert again[0].id == told[0].id, "another worker says the same thing"


@pytest.mark.parametrize(
    ("at_ms", "day", "next_day", "month", "next_month"),
    [
        (1_764_547_199_999, "2025-11-30", "2025-12-01T00:00:00Z", "2025-11", "2025-12-01T00:00:00Z"),
        (1_764_547_200_000, "2025-12-01", "2025-12-02T00:00:00Z", "2025-12", "2026-01-01T00:00:00Z"),
        (1_767_225_599_999, "2025-12-31", "2026-01-01T00:00:00Z", "2025-12", "2026-01-01T00:00:00Z"),
        (1_709_164_800_000, "2024-02-29", "2024-03-01T00:00:00Z", "2024-02", "2024-03-01T00:00:00Z"),
    ],
)
def test_periods_are_days_and_months_of_utc(at_ms: int, day: str, next_day: str, month: str, next_month: str):
    by_day, by_month = daily("x", at_ms, Decimal(1), "s"), monthly("x", at_ms, Decimal(1), "s")
    assert (by_day.period, by_day.renews, by_month.period, by_month.renews) == (day, next_day, month, next_month)
    assert by_month.starts_ms <= by_day.starts_ms <= at_ms < by_day.starts_ms + 86_400_000
    assert daily("x", by_day.starts_ms - 1, Decimal(1), "s").period != day
    assert monthly("x", by_month.starts_ms - 1, Decimal(1), "s").period != month


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [(0, "$0.00"), (412, "$0.000412"), (1_500_000, "$1.50"), (1_234_000_001, "$1,234.000001"), (-20_000, "-$0.02")],
)
def test_dollars_are_written_in_full(micro_usd: int, text: str):
    assert dollars(micro_usd) == text


def test_a_limit_is_rounded_down_and_its_threshold_up():
    assert micro(Decimal("0.0000019")) == 1
    assert limit(1, threshold="0.33333").alert_at == 3_334
    assert micro(Decimal("1e30")) == 10**15
