"""The books of one attempt, told the log as they are made: an event for each try at a model and for each use of a tool.

An event's id is derived from where it stands in the attempt and from which handling of the task made it. So an entry that comes
back from the journal is told again under its own id, and a call that a crash kept out of the journal, and that is made again, is
another event: both were paid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.meter import ModelCall, ToolUse
from schemas.base import Event
from schemas.events import ActionUsed, ModelCalled, NodeTask
from schemas.ids import derive
from streams.runtime import Outgoing
from streams.wire import outgoing


class Books:
    """agents.meter.Listener for one handling of one task, which has a name: its worker, and when it began."""

    def __init__(
        self, task: NodeTask, tell: Callable[[Outgoing], None], clock_ms: Callable[[], int], *, worker: str = ""
    ) -> None:
        """`worker`: as it is called where it holds budgets."""
        self._task, self._tell, self._clock_ms = task, tell, clock_ms
        self.began_ms = clock_ms()
        self.handling = f"{worker}/{self.began_ms}"
        self._fault: ValueError | None = None

    def note(self, entry: ModelCall | ToolUse) -> None:
        """Tell it. What cannot be written is kept for `closed`: the agent that made the call has no part in it."""
        try:
            self._tell(outgoing(self._event(entry)))
        except ValueError as fault:
            self._fault = self._fault or fault

    def closed(self) -> None:
        """The attempt is over. Raises when an entry could not be written: a completion must not hide what is missing."""
        if self._fault is not None:
            raise self._fault

    def _event(self, entry: ModelCall | ToolUse) -> Event:
        shared: dict[str, Any] = {
            "time_ms": self._clock_ms(),
            "conversation_id": self._task.conversation_id,
            "run_id": self._task.run_id,
            "node_id": self._task.node_id,
            "execution_id": self._task.execution_id,
            "attempt": self._task.attempt,
            "workflow": self._task.workflow,
        }
        handling = self.handling if entry.handling is None else entry.handling
        place = (self._task.execution_id, self._task.attempt, entry.step)
        if isinstance(entry, ModelCall):
            shared |= {"agent": self._task.agent, "worker": handling.rpartition("/")[0]}
            return _called(derive(*place, entry.candidate, handling), entry, shared)
        return ActionUsed(
            id=derive(*place, handling),
            app=entry.app,
            action=entry.action,
            entity_id=entry.entity_id,
            success=entry.success,
            error=entry.error,
            latency_ms=entry.latency_ms,
            **shared,
        )


def _called(name: str, call: ModelCall, shared: dict[str, Any]) -> ModelCalled:
    attempt, used, estimated = call.attempt, call.attempt.usage, call.attempt.estimated
    return ModelCalled(
        id=name,
        profile=call.profile,
        provider=attempt.provider,
        model=attempt.model,
        success=call.success,
        error=attempt.error,
        input_text_tokens=used.input_text_tokens,
        cached_text_tokens=used.cached_text_tokens,
        output_text_tokens=used.output_text_tokens,
        cost_micro_usd=attempt.cost_micro_usd,
        latency_ms=attempt.latency_ms,
        step=call.step,
        candidate=call.candidate,
        outcome=attempt.outcome,
        cache_write_text_tokens=used.cache_write_text_tokens,
        reasoning_text_tokens=used.reasoning_text_tokens,
        first_token_ms=attempt.first_token_ms,
        estimated_input_text_tokens=estimated.input_text_tokens,
        estimated_output_text_tokens=estimated.output_text_tokens,
        estimated_cost_micro_usd=attempt.estimated_cost_micro_usd,
        estimated_latency_ms=attempt.estimated_latency_ms,
        reasoning=attempt.reasoning,
        runner_up=attempt.runner_up,
        candidates=[dict(each) for each in attempt.candidates] or None,
        price=None if attempt.price is None else dict(attempt.price),
        **shared,
    )
