"""Which limits bind an attempt of a node: its conversation's, its workflow's, everybody's; of the day on which it calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from agents.ports import ChatModel, ChatPiece, ChatReply, ChatRequest
from agents.router.budget import Budget, ComposedBudget
from agents.router.limits import DEFAULT_THRESHOLD, EVERYTHING, Limit, daily, micro, monthly
from agents.router.purse import LocalPurse, OnAlert, Purse
from agents.streaming import pieces
from schemas.events import NodeTask
from schemas.workflow.definition import CostControls, WorkflowDefinition

log = logging.getLogger(__name__)
DAY_MS = 86_400_000


class SharedPurses(Protocol):
    """Where the parts of limits come from that many workers spend of."""

    def purse(self, limit: Limit) -> Purse: ...


class Allowances:
    """One a worker. Without `shared`, daily and monthly limits are not kept, and it says so once for each workflow."""

    def __init__(
        self,
        shared: SharedPurses | None = None,
        *,
        daily_usd: Decimal | None = None,
        monthly_usd: Decimal | None = None,
        on_alert: OnAlert = lambda alert: None,
        clock_ms: Callable[[], int],
    ) -> None:
        """`clock_ms`: says the day and month to which a call belongs, when it is made."""
        self._clock_ms = clock_ms
        self._shared, self._daily_usd, self._monthly_usd, self._on_alert = shared, daily_usd, monthly_usd, on_alert
        self._told: set[str] = set()

    def budget(self, task: NodeTask, definition: WorkflowDefinition, *, spent: tuple[int, int] = (0, 0)) -> ComposedBudget:
        """What an attempt may draw on. `spent`: by earlier attempts of its node, and by itself before it was interrupted."""
        controls = definition.cost_controls
        own: list[Purse] = []
        if task.budget_micro_usd is not None and controls.max_cost_per_conversation is not None:
            own.append(self._conversation(task, controls, *spent))
        now_ms = self._clock_ms()
        limits = self._limits(definition.name, controls, now_ms)
        if not limits:
            return ComposedBudget(own)
        if self._shared is None:
            if definition.name not in self._told:
                self._told.add(definition.name)
                told = "the daily and monthly budgets of workflow %s are not kept: no database is configured"
                log.warning(told, definition.name)
            return ComposedBudget(own)
        return ComposedBudget(
            [*own, *map(self._shared.purse, limits)], renewed=self._renewing(definition.name, controls, own, self._shared, now_ms)
        )

    def _renewing(
        self, workflow: str, controls: CostControls, own: Sequence[Purse], shared: SharedPurses, at_ms: int
    ) -> Callable[[], Sequence[Purse] | None]:
        """The purses of another day, once it has begun."""
        day = at_ms // DAY_MS

        def renewed() -> Sequence[Purse] | None:
            nonlocal day
            now_ms = self._clock_ms()
            if now_ms // DAY_MS == day:
                return None
            day = now_ms // DAY_MS
            return [*own, *map(shared.purse, self._limits(workflow, controls, now_ms))]

        return renewed

    def _conversation(self, task: NodeTask, controls: CostControls, earlier: int, interrupted: int) -> LocalPurse:
        assert task.budget_micro_usd is not None
        assert controls.max_cost_per_conversation is not None
        scope, setting = f"conversation {task.conversation_id}", "cost_controls.max_cost_per_conversation"
        limit = Limit(scope, "conversation", micro(controls.max_cost_per_conversation), setting, threshold=_threshold(controls))
        granted = max(0, task.budget_micro_usd - earlier - interrupted)
        others = task.conversation_cost_micro_usd + interrupted
        return LocalPurse(limit, granted, others=others, on_alert=self._on_alert)

    def _limits(self, workflow: str, controls: CostControls, at_ms: int) -> list[Limit]:
        scope, threshold = f"workflow {workflow}", _threshold(controls)
        limits = []
        if controls.daily_budget is not None:
            limits.append(daily(scope, at_ms, controls.daily_budget, "cost_controls.daily_budget", threshold))
        if controls.monthly_budget is not None:
            limits.append(monthly(scope, at_ms, controls.monthly_budget, "cost_controls.monthly_budget", threshold))
        if self._daily_usd is not None:
            limits.append(daily(EVERYTHING, at_ms, self._daily_usd, "HIL_DAILY_BUDGET"))
        if self._monthly_usd is not None:
            limits.append(monthly(EVERYTHING, at_ms, self._monthly_usd, "HIL_MONTHLY_BUDGET"))
        return limits


class BudgetedModel:
    """Tells a model what its requests may draw on. Put innermost: what the journal answers costs nothing again."""

    def __init__(self, model: ChatModel, budget: Budget) -> None:
        self._model, self._budget = model, budget

    async def complete(self, request: ChatRequest) -> ChatReply:
        return await self._model.complete(replace(request, budget=self._budget))

    def stream(self, request: ChatRequest) -> AsyncGenerator[ChatPiece, None]:
        return pieces(self._model, replace(request, budget=self._budget))


def _threshold(controls: CostControls) -> Decimal:
    return DEFAULT_THRESHOLD if controls.alert_threshold is None else Decimal(str(controls.alert_threshold))
