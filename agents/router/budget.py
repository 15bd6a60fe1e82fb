"""What a call may still spend, as the router sees it: reserve before, settle after, release what was not spent."""

from __future__ import annotations

from typing import Literal, Protocol

Tightness = Literal["ok", "alert", "exhausted"]


class OverBudget(Exception):
    """The amount does not fit any more. The message says which budget, of what, and when it is renewed."""

    def __init__(self, message: str, scope: str = "") -> None:
        super().__init__(message)
        self.scope = scope


class Reservation(Protocol):
    async def settle(self, actual_micro_usd: int) -> None:
        """The call has cost this much."""
        ...

    async def release(self) -> None:
        """The call has cost nothing."""
        ...


class Budget(Protocol):
    async def reserve(self, micro_usd: int) -> Reservation:
        """Raises OverBudget."""
        ...

    def tightness(self) -> Tightness: ...
