"""What was spent: one event per model call and one per tool call, success or not."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Event, Json, MicroUsd, Millis


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
    step: str = ""
    """Which of the agent's calls: `model-1`, `model-2`, …"""
    candidate: int = 1
    """Which model was tried for this call: 1 for the first choice, then its fallbacks."""
    outcome: str = ""
    """`ok`, or the code of what failed: `http_429`, `timeout_total`, `over_budget`, …"""
    cache_write_text_tokens: int = 0
    """Of the input: written to the provider's cache."""
    reasoning_text_tokens: int = 0
    """Of the output: thought, not shown."""
    first_token_ms: Millis | None = None
    estimated_input_text_tokens: int = 0
    estimated_output_text_tokens: int = 0
    estimated_cost_micro_usd: MicroUsd = 0
    estimated_latency_ms: Millis = 0
    reasoning: str = ""
    """Why this model, in words."""
    runner_up: str | None = None
    candidates: Json = None
    """With the first choice: every model considered, with its score or why it was left out."""
    price: Json = None
    """The price row that the cost was computed with."""
    worker: str = ""
    """Who paid: the node worker, by the name it has where it holds budgets."""


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
