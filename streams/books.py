"""The books of one attempt as events: one for each try at a model, one for each use of a tool. Ids come from their place."""

from __future__ import annotations

from typing import Any

from agents.meter import Meter, ModelCall
from schemas.events import ActionUsed, ModelCalled, NodeTask
from schemas.ids import derive


def spent(task: NodeTask, meter: Meter, now_ms: int) -> list[ModelCalled | ActionUsed]:
    """One event per try at a model and one per tool call of this attempt, in their order."""
    shared: dict[str, Any] = {
        "time_ms": now_ms,
        "conversation_id": task.conversation_id,
        "run_id": task.run_id,
        "node_id": task.node_id,
        "execution_id": task.execution_id,
        "attempt": task.attempt,
        "workflow": task.workflow,
    }
    calls = [_called(task, call, shared) for call in meter.fresh_model_calls()]
    uses = [
        ActionUsed(
            id=derive(task.execution_id, task.attempt, use.step),
            app=use.app,
            action=use.action,
            entity_id=use.entity_id,
            success=use.success,
            error=use.error,
            latency_ms=use.latency_ms,
            **shared,
        )
        for use in meter.fresh_tool_uses()
    ]
    return [*calls, *uses]


def _called(task: NodeTask, call: ModelCall, shared: dict[str, Any]) -> ModelCalled:
    """The books of one try. Its id says where it stands, so a repeat of the task makes it again."""
    attempt, used, estimated = call.attempt, call.attempt.usage, call.attempt.estimated
    return ModelCalled(
        id=derive(task.execution_id, task.attempt, call.step, call.candidate),
        agent=task.agent,
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
