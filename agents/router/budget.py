"""What a model call may draw on: reserve before it, settle after it, release when nothing was spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agents.router.purse import OverBudget, Purse, Tightness

__all__ = ["Budget", "ComposedBudget", "OverBudget", "Reservation", "Tightness"]


class Reservation(Protocol):
    """Money set aside for one call. It ends once, with `settle` or `release`; whatever comes after changes nothing."""

    async def settle(self, actual_micro_usd: int) -> None:
        """What the call came to. More than was reserved counts in full; less sets the rest free."""
        ...

    async def release(self) -> None:
        """The call was not made, or cost nothing."""
        ...


class Budget(Protocol):
    async def reserve(self, micro_usd: int) -> Reservation:
        """Set aside the most a call may cost.

        Raises OverBudget, which is Fatal and names the budget, its limit, what is spent and when it renews; let it pass after
        cheaper models were tried. Raises Retryable when the budgets cannot be reached.
        """
        ...

    def tightness(self) -> Tightness:
        """`ok`; `alert` from the threshold on: prefer cheaper models; `exhausted`: only what costs nothing will pass."""
        ...


Renewed = Callable[[], Sequence[Purse] | None]
"""The purses that count from now on; None: still the same."""
_RANK: dict[Tightness, int] = {"ok": 0, "alert": 1, "exhausted": 2}


class ComposedBudget:
    """Several limits at once: a call must fit into all of them. Belongs to one attempt of one node."""

    __slots__ = ("_open", "_purses", "_renewed")

    def __init__(self, purses: Sequence[Purse] = (), *, renewed: Renewed | None = None) -> None:
        """`renewed`: asked before each call; an attempt may go on into the next day, whose budgets are others."""
        self._purses = tuple(purses)
        self._renewed = renewed
        self._open: set[_Reserved] = set()

    def __bool__(self) -> bool:
        """Whether anything is bounded at all."""
        return bool(self._purses)

    async def reserve(self, micro_usd: int) -> Reservation:
        if micro_usd < 0:
            raise ValueError(f"a call cannot cost {micro_usd} micro-dollars")
        purses = self._now()
        for at, purse in enumerate(purses):
            if not purse.try_take(micro_usd):
                try:
                    await purse.take(micro_usd)
                except BaseException:
                    for taken in purses[:at]:
                        taken.put_back(micro_usd)
                    raise
        reserved = _Reserved(self, micro_usd, purses)
        self._open.add(reserved)
        return reserved

    def tightness(self) -> Tightness:
        worst: Tightness = "ok"
        for purse in self._now():
            now = purse.tightness()
            if _RANK[now] > _RANK[worst]:
                worst = now
        return worst

    def close(self) -> None:
        """The attempt is over. What is still reserved was for calls that were cut off: a provider may charge for them in full."""
        while self._open:
            self.end(next(iter(self._open)), None)

    def end(self, reserved: _Reserved, actual: int | None) -> None:
        """`actual` None: as much as was reserved."""
        if reserved not in self._open:
            return
        self._open.discard(reserved)
        amount = reserved.micro_usd
        spent = amount if actual is None else actual
        for purse in reserved.purses:
            if spent:
                purse.spend(amount, spent)
            else:
                purse.put_back(amount)

    def _now(self) -> tuple[Purse, ...]:
        if self._renewed is not None and (others := self._renewed()) is not None:
            self._purses = tuple(others)
        return self._purses


class _Reserved:
    """Reservation of a ComposedBudget. It ends in the purses that it was taken from."""

    __slots__ = ("_budget", "micro_usd", "purses")

    def __init__(self, budget: ComposedBudget, micro_usd: int, purses: tuple[Purse, ...]) -> None:
        self._budget, self.micro_usd, self.purses = budget, micro_usd, purses

    async def settle(self, actual_micro_usd: int) -> None:
        self._budget.end(self, actual_micro_usd)

    async def release(self) -> None:
        self._budget.end(self, 0)
