"""One limit as one worker sees it: what it may spend of it here and now. Arithmetic alone, no I/O.

    granted = spent + reserved + free

`granted` is this worker's part of the limit; `others` is what everybody else is known to have spent of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from agents.errors import Fatal
from agents.router.limits import BudgetAlert, Level, Limit

Tightness = Literal["ok", "alert", "exhausted"]
OnAlert = Callable[[BudgetAlert], None]
"""Told once by each worker when a limit is nearly reached and when it is. Must not block, and must not raise."""


class OverBudget(Fatal):
    """A call may cost more than a budget has left. `held`: what is missing is reserved by others, so that it may become free."""

    fault = "budget"

    def __init__(self, message: str, scope: str, *, held: bool = False) -> None:
        super().__init__(message)
        self.scope, self.held = scope, held
        self.reached = False


class Purse(Protocol):
    """What a budget is composed of. Amounts are micro-dollars."""

    def try_take(self, micro_usd: int) -> bool:
        """Reserve, if that needs no waiting."""
        ...

    async def take(self, micro_usd: int) -> None:
        """Reserve. Raises OverBudget, or Retryable when it cannot be known whether it may."""
        ...

    def put_back(self, micro_usd: int) -> None:
        """End a reservation of this size: nothing was spent."""
        ...

    def spend(self, reserved: int, actual: int) -> None:
        """End a reservation: this is what it came to, which may be more."""
        ...

    def tightness(self) -> Tightness: ...


class LocalPurse:
    """A part of a limit that is all this worker's own. The purse of a conversation, and the arithmetic of a lease."""

    __slots__ = ("_level", "_on_alert", "_tell_at", "granted", "limit", "others", "reserved", "spent")

    def __init__(self, limit: Limit, granted: int, *, others: int = 0, on_alert: OnAlert = lambda alert: None) -> None:
        self.limit = limit
        self.granted = granted
        self.others = others
        self.spent = 0
        self.reserved = 0
        self._on_alert = on_alert
        self._level: Level | None = None
        self._look_ahead()

    @property
    def free(self) -> int:
        """May be negative: calls came to more than was reserved for them."""
        return self.granted - self.spent - self.reserved

    @property
    def total(self) -> int:
        """Spent of the limit, by all."""
        return self.others + self.spent

    def try_take(self, micro_usd: int) -> bool:
        if micro_usd > self.granted - self.spent - self.reserved and micro_usd > 0:
            return False
        self.reserved += micro_usd
        return True

    async def take(self, micro_usd: int) -> None:
        if not self.try_take(micro_usd):
            raise self.refused(micro_usd)

    def put_back(self, micro_usd: int) -> None:
        self.reserved -= micro_usd

    def spend(self, reserved: int, actual: int) -> None:
        self.reserved -= reserved
        self.spent += actual
        if self.spent >= self._tell_at:
            self.look()

    def tightness(self) -> Tightness:
        if self.total >= self.limit.micro_usd or self.free <= 0:
            return "exhausted"
        return "alert" if self.total >= self.limit.alert_at else "ok"

    def refused(self, micro_usd: int) -> OverBudget:
        held = self.total + micro_usd <= self.limit.micro_usd
        if not held:
            self._say("exhausted")
        return OverBudget(self.limit.refusal(micro_usd, self.total, held=held), self.limit.scope, held=held)

    def look(self) -> None:
        """Tell people when a threshold has been passed."""
        if self.total >= self.limit.micro_usd:
            self._say("exhausted")
        elif self.total >= self.limit.alert_at:
            self._say("alert")
        self._look_ahead()

    def _say(self, level: Level) -> None:
        if self._level != level and self._level != "exhausted":
            self._level = level
            self._on_alert(BudgetAlert.of(self.limit, level, self.total))

    def _look_ahead(self) -> None:
        """At which own spending there is something to tell again, so that most calls need not look."""
        at = self.limit.alert_at if self._level is None else self.limit.micro_usd
        self._tell_at = at - self.others if self._level != "exhausted" else 1 << 62
