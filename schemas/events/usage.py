"""What was spent: one event per model call and one per tool call, success or not."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Event, MicroUsd, Millis


class ModelCalled(Event):
    """One attempt at one model (topic `llm.routing-decisions`)."""

    TYPE: ClassVar[str] = "hil.model.called"

    run_id: str
    node_id: str
    execution_id: str
    attempt: int
    workflow: str
    agent: str
    profile: str
    provider: str
    model: str
    success: bool
    error: str | None = None
    input_text_tokens: int = 0
    cached_text_tokens: int = 0
    output_text_tokens: int = 0
    cost_micro_usd: MicroUsd = 0
    latency_ms: Millis = 0


class ActionUsed(Event):
    """One call of one tool (topic `tool.action-usage`)."""

    TYPE: ClassVar[str] = "hil.action.used"

    run_id: str
    node_id: str
    execution_id: str
    attempt: int
    workflow: str
    app: str
    action: str
    entity_id: str = ""
    success: bool
    error: str | None = None
    latency_ms: Millis = 0
