"""Counts what one attempt of a node spends: every model call and every tool use, success or not.

Put outermost, over the journal's wrappers. What an earlier attempt did and the journal answered is marked `replayed` and stands
in that attempt's books: it makes no event and adds nothing to these sums, so the sums of all attempts are what the node cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agents.errors import NodeFailure
from agents.ports import ChatModel, ChatReply, ChatRequest, ToolCall, ToolResult, Tools, ToolSpec

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class ModelCall:
    step: str
    """`model-1`, `model-2`, …: the journal's name for it, stable over repeats."""
    profile: str
    provider: str
    model: str
    success: bool
    error: str | None = None
    input_text_tokens: int = 0
    cached_text_tokens: int = 0
    output_text_tokens: int = 0
    cost_micro_usd: int = 0
    latency_ms: int = 0
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ToolUse:
    step: str
    app: str
    action: str
    entity_id: str
    success: bool
    error: str | None = None
    latency_ms: int = 0
    acted: bool = True
    """False when it was refused before it reached the tool: not a use worth an event."""
    replayed: bool = False


@dataclass(slots=True)
class Meter:
    """The books of one attempt."""

    model_calls: list[ModelCall] = field(default_factory=list)
    tool_uses: list[ToolUse] = field(default_factory=list)

    @property
    def cost_micro_usd(self) -> int:
        return sum(call.cost_micro_usd for call in self.fresh_model_calls())

    @property
    def input_text_tokens(self) -> int:
        return sum(call.input_text_tokens for call in self.fresh_model_calls())

    @property
    def output_text_tokens(self) -> int:
        return sum(call.output_text_tokens for call in self.fresh_model_calls())

    @property
    def models(self) -> list[str]:
        """The models that answered, each once, in order."""
        return list(dict.fromkeys(call.model for call in self.model_calls if call.success))

    @property
    def tools(self) -> list[str]:
        """The tools that were reached, each once, in order."""
        return list(dict.fromkeys(f"{use.app}.{use.action}" for use in self.tool_uses if use.acted))

    def fresh_model_calls(self) -> list[ModelCall]:
        """Those that need an event."""
        return [call for call in self.model_calls if not call.replayed]

    def fresh_tool_uses(self) -> list[ToolUse]:
        """Those that need an event."""
        return [use for use in self.tool_uses if use.acted and not use.replayed]


class MeteredModel:
    def __init__(self, model: ChatModel, meter: Meter, *, clock: Clock = time.monotonic) -> None:
        self._model, self._meter, self._clock = model, meter, clock
        self._calls = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self._calls += 1
        step, started = f"model-{self._calls}", self._clock()
        try:
            reply = await self._model.complete(request)
        except NodeFailure as failure:
            self._meter.model_calls.append(
                ModelCall(
                    step=step,
                    profile=request.profile,
                    provider=failure.provider,
                    model=failure.model,
                    success=False,
                    error=str(failure),
                    latency_ms=round((self._clock() - started) * 1000),
                )
            )
            raise
        self._meter.model_calls.append(
            ModelCall(
                step=step,
                profile=request.profile,
                provider=reply.provider,
                model=reply.model,
                success=True,
                input_text_tokens=reply.input_text_tokens,
                cached_text_tokens=reply.cached_text_tokens,
                output_text_tokens=reply.output_text_tokens,
                cost_micro_usd=reply.cost_micro_usd,
                latency_ms=reply.latency_ms,
                replayed=reply.replayed,
            )
        )
        return reply


class MeteredTools:
    def __init__(self, tools: Tools, meter: Meter, *, clock: Clock = time.monotonic) -> None:
        self._tools, self._meter, self._clock = tools, meter, clock
        self._calls = 0

    def specs(self) -> Sequence[ToolSpec]:
        return self._tools.specs()

    async def call(self, call: ToolCall) -> ToolResult:
        self._calls += 1
        step, started = f"tool-{self._calls}", self._clock()
        app, _, action = call.name.partition(".")
        try:
            result = await self._tools.call(call)
        except NodeFailure as failure:
            spent = round((self._clock() - started) * 1000)
            self._meter.tool_uses.append(
                ToolUse(step, app, action, "", success=False, error=str(failure), latency_ms=spent, acted=failure.reached)
            )
            raise
        self._meter.tool_uses.append(
            ToolUse(
                step=step,
                app=app,
                action=action,
                entity_id=result.entity_id,
                success=result.success,
                error=result.error,
                latency_ms=result.latency_ms,
                acted=result.acted,
                replayed=result.replayed,
            )
        )
        return result
