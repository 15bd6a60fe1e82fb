"""How far one request has come along its chain, and how it ends when nobody has answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.ports import ModelAttempt
from agents.router.ports import ProviderFailure
from agents.router.routing import Choice, LeftOut


@dataclass(slots=True)
class Course:
    """How far one request has come along its chain."""

    attempts: list[ModelAttempt] = field(default_factory=list)
    failed: list[tuple[Choice, str, ProviderFailure | None]] = field(default_factory=list)
    late: list[LeftOut] = field(default_factory=list)
    refused_keys: set[str] = field(default_factory=set)
    too_small: int = 0
    """The largest window that was too small."""
    too_dear: int | None = None
    """What the budget refused: something as dear need not be tried."""

    def skip(self, choice: Choice) -> str | None:
        """Why the next of the chain need not be asked, after what the ones before it have said."""
        model = choice.model
        if model.provider in self.refused_keys:
            return f"the key of {model.provider} was just refused"
        if model.context <= self.too_small:
            return f"its window of {model.context} is no larger than the one that was too small"
        if self.too_dear is not None and choice.cost_micro_usd >= self.too_dear:
            return "it costs no less than what the budget has just refused"
        return None
