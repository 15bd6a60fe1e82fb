"""Counts what one attempt of a node spends: every try at a model and every tool use, success or not.

Put outermost, over the journal's wrappers. Whoever listens hears of each the moment it ended. What an earlier attempt did and the
journal answered is marked `replayed` and stands in that attempt's books: it makes no event and adds nothing to these sums, so the
sums of all attempts are what the node cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace

from agents.errors import NodeFailure, attempts_of
from agents.ports import ChatModel, ChatPiece, ChatReply, ChatRequest, ModelAttempt, ToolCall, ToolResult, Tools, ToolSpec, Usage
from agents.streaming import pieces

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One try at one model for one of the agent's calls."""

    step: str
    """`model-1`, `model-2`, …: the journal's name for the call, stable over repeats."""
    candidate: int
    """Which model was tried for it: 1 for the first choice, then its fallbacks."""
    profile: str
    attempt: ModelAttempt
    replayed: bool = False
    handling: str | None = None
    """Answered from the journal: which handling of the task made it. None: this one."""

    @property
    def success(self) -> bool:
        return self.attempt.success


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
    handling: str | None = None
    """As ModelCall.handling."""


Listener = Callable[[ModelCall | ToolUse], None]
"""Must not raise."""


@dataclass(slots=True)
class Meter:
    """The books of one attempt. `listener` hears of every entry that needs an event, when it is made."""

    listener: Listener | None = field(default=None, repr=False, compare=False)
    model_calls: list[ModelCall] = field(default_factory=list)
    tool_uses: list[ToolUse] = field(default_factory=list)
    cost_micro_usd: int = 0
    input_text_tokens: int = 0
    output_text_tokens: int = 0
    """Of the calls that need an event, like the two above."""
    models: list[str] = field(default_factory=list)
    """The models that answered, each once, in order."""
    tools: list[str] = field(default_factory=list)
    """The tools that were reached, each once, in order."""

    def called(self, call: ModelCall) -> None:
        self.model_calls.append(call)
        attempt = call.attempt
        if call.success and attempt.model not in self.models:
            self.models.append(attempt.model)
        if call.replayed:
            return
        self.cost_micro_usd += attempt.cost_micro_usd
        self.input_text_tokens += attempt.usage.input_text_tokens
        self.output_text_tokens += attempt.usage.output_text_tokens
        if self.listener is not None:
            self.listener(call)

    def used(self, use: ToolUse) -> None:
        self.tool_uses.append(use)
        tool = f"{use.app}.{use.action}"
        if use.acted and tool not in self.tools:
            self.tools.append(tool)
        if self.listener is not None and use.acted and not use.replayed:
            self.listener(use)


class MeteredModel:
    def __init__(self, model: ChatModel, meter: Meter, *, clock: Clock = time.monotonic) -> None:
        self._model, self._meter, self._clock = model, meter, clock
        self._calls = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        with self._call(request) as call:
            reply = await self._model.complete(replace(request, on_attempt=call.tried))
            call.answered(reply)
        return reply

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatPiece, None]:
        """Who stops reading pays what came: the model says so while it is closed."""
        with self._call(request) as call:
            async with aclosing(pieces(self._model, replace(request, on_attempt=call.tried))) as heard:
                async for piece in heard:
                    if piece.reply is not None:
                        call.answered(piece.reply)
                    yield piece

    @contextmanager
    def _call(self, request: ChatRequest) -> Iterator[_Call]:
        self._calls += 1
        call, started = _Call(self._meter, f"model-{self._calls}", request.profile), self._clock()
        try:
            yield call
        except NodeFailure as failure:
            spent = round((self._clock() - started) * 1000)
            call.ended(attempts_of(failure) or (_failed(failure, spent),))
            raise
        except asyncio.CancelledError as cancelled:  # what was asked is paid all the same
            call.ended(attempts_of(cancelled))
            raise


@dataclass(slots=True)
class _Call:
    """One of the agent's calls while it is made: its tries are booked as they end, and each once."""

    meter: Meter
    step: str
    profile: str
    booked: int = 0

    def tried(self, attempt: ModelAttempt) -> None:
        self._book(attempt, replayed=False, handling=None)

    def answered(self, reply: ChatReply) -> None:
        self.ended(reply.attempts or (_only(reply),), replayed=reply.replayed, handling=reply.handling)

    def ended(self, attempts: Sequence[ModelAttempt], *, replayed: bool = False, handling: str | None = None) -> None:
        """`attempts`: all of them; those that were heard of on the way are in the books."""
        for attempt in attempts[self.booked :]:
            self._book(attempt, replayed=replayed, handling=handling)

    def _book(self, attempt: ModelAttempt, *, replayed: bool, handling: str | None) -> None:
        self.booked += 1
        self.meter.called(ModelCall(self.step, self.booked, self.profile, attempt, replayed, handling))


def _failed(failure: NodeFailure, latency_ms: int) -> ModelAttempt:
    """The record of a failure whose model keeps no books of its own."""
    return ModelAttempt(failure.provider, failure.model, "failed", error=str(failure), latency_ms=latency_ms)


def _only(reply: ChatReply) -> ModelAttempt:
    """The record of a reply whose model keeps no books of its own."""
    return ModelAttempt(
        reply.provider,
        reply.model,
        "ok",
        usage=Usage(
            reply.input_text_tokens,
            reply.cached_text_tokens,
            reply.cache_write_text_tokens,
            reply.output_text_tokens,
            reply.reasoning_text_tokens,
        ),
        cost_micro_usd=reply.cost_micro_usd,
        latency_ms=reply.latency_ms,
        first_token_ms=reply.first_token_ms,
    )


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
            self._meter.used(
                ToolUse(step, app, action, "", success=False, error=str(failure), latency_ms=spent, acted=failure.reached)
            )
            raise
        self._meter.used(
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
                handling=result.handling,
            )
        )
        return result
