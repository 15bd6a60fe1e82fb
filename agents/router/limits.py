"""Bounds on spending: whose, for how long, how much, and what to tell people about them. Values alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cached_property
from typing import Literal

from schemas.bounds import MOST_USD
from schemas.ids import derive

Span = Literal["conversation", "daily", "monthly"]
Level = Literal["alert", "exhausted"]
DEFAULT_THRESHOLD = Decimal("0.8")
_MOST = Decimal(MOST_USD)
EVERYTHING = "everything"
"""The scope of the limits that hold for all workflows together."""


@dataclass(frozen=True)
class Limit:
    """One bound. Two with equal `scope` and `period` bound the same spending."""

    scope: str
    """`conversation ID`, `workflow NAME`, or EVERYTHING."""
    span: Span
    micro_usd: int
    setting: str
    """Where people change it, e.g. `cost_controls.daily_budget`."""
    period: str = ""
    """A day (`2026-11-25`) or a month (`2026-11`), UTC; empty when it never renews."""
    starts_ms: int = 0
    """When the period began."""
    renews: str = ""
    """When the next period begins, as people write it."""
    threshold: Decimal = DEFAULT_THRESHOLD
    """From this share on, cheaper models are preferred and people are told."""

    @cached_property
    def alert_at(self) -> int:
        """Micro-dollars spent from which on the limit is nearly reached."""
        return int((self.micro_usd * self.threshold).to_integral_value(ROUND_CEILING))

    @property
    def title(self) -> str:
        if self.span == "conversation":
            return f"the budget of {self.scope}"
        return f"the {self.span} budget of {self.scope} for {self.period}"

    def refusal(self, asked: int, spent: int, *, held: bool) -> str:
        """Why a call of up to `asked` micro-dollars is not made. `held`: there is money left, reserved by others."""
        state = f"{dollars(spent)} of {dollars(self.micro_usd)} are spent"
        if held:
            state += " and the rest is reserved by calls that have not ended"
        when = f"It renews at {self.renews}. " if self.renews else ""
        return (
            f"{self.title} leaves too little for this call, which may cost {dollars(asked)}: {state}. "
            f"{when}Raise {self.setting}, or choose a cheaper profile"
        )


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A limit is nearly reached, or reached. Every worker says so once; `id` is the same for all of them."""

    id: str
    level: Level
    limit: Limit
    spent_micro_usd: int

    @classmethod
    def of(cls, limit: Limit, level: Level, spent: int) -> BudgetAlert:
        made_of = ("budget", limit.scope, limit.span, limit.period, limit.micro_usd, level)
        return cls(derive(*made_of), level, limit, spent)

    def __str__(self) -> str:
        """For people: what is, what the limit is, what to do."""
        limit, spent = self.limit, dollars(self.spent_micro_usd)
        then = "cheaper models are preferred" if self.level == "alert" else "calls that cost anything are refused"
        until = f" until {limit.renews}" if limit.renews else ""
        return f"{limit.title}: {spent} of {dollars(limit.micro_usd)} are spent, so {then}{until}. Raise {limit.setting} to go on"


def daily(scope: str, at_ms: int, limit: Decimal, setting: str, threshold: Decimal = DEFAULT_THRESHOLD) -> Limit:
    """The limit of the UTC day of `at_ms`, which is when the spending begins."""
    day = _utc(at_ms).replace(hour=0, minute=0, second=0)
    return _limit(scope, "daily", limit, setting, f"{day:%Y-%m-%d}", day, day + timedelta(days=1), threshold)


def monthly(scope: str, at_ms: int, limit: Decimal, setting: str, threshold: Decimal = DEFAULT_THRESHOLD) -> Limit:
    """The limit of the UTC month of `at_ms`."""
    first = _utc(at_ms).replace(day=1, hour=0, minute=0, second=0)
    return _limit(
        scope, "monthly", limit, setting, f"{first:%Y-%m}", first, (first + timedelta(days=31)).replace(day=1), threshold
    )


def micro(usd: Decimal) -> int:
    """Dollars as whole micro-dollars, rounded down: rounding never raises a limit. A billion dollars is as good as more."""
    return int(min(usd, _MOST).scaleb(6))


def dollars(micro_usd: int) -> str:
    """`$1.50`, `$0.000412`: at least two decimals, at most six."""
    whole, fraction = divmod(abs(micro_usd), 1_000_000)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro_usd < 0 else ''}${whole:,}.{digits}"


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)


def _limit(
    scope: str, span: Span, usd: Decimal, setting: str, period: str, first: datetime, after: datetime, threshold: Decimal
) -> Limit:
    starts_ms, renews = int(first.timestamp()) * 1000, f"{after:%Y-%m-%dT%H:%M:%SZ}"
    return Limit(scope, span, micro(usd), setting, period, starts_ms, renews, threshold)
