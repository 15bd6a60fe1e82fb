"""Makes an execution repeatable: what it asked a model or a tool, and got, is answered from the journal the second time.

Before a tool that must not act twice acts, its intent is durable; after it, its result. An intent without a result is in doubt:
only a person can say whether it acted. Steps are named by order, which is the same again because the agents are deterministic.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import MISSING, asdict, astuple, dataclass, fields
from typing import Any, Protocol

from agents.errors import Park, Retryable
from agents.jsonable import digest, shown
from agents.ports import (
    Attached,
    ChatModel,
    ChatPiece,
    ChatReply,
    ChatRequest,
    ModelAttempt,
    ToolCall,
    ToolResult,
    Tools,
    ToolSpec,
    Usage,
)
from agents.streaming import pieces


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal has of a step. Both values are JSON-able mappings."""

    intent: Mapping[str, Any] | None = None
    value: Mapping[str, Any] | None = None


class Journal(Protocol):
    """One execution's journal. `intent` and `result` return when the entry is durable; either may raise Retryable."""

    def lookup(self, step: str) -> Entry | None: ...

    async def intent(self, step: str, detail: Mapping[str, Any]) -> None:
        """Open the step: it may be acting from now on. What the journal had of it before is dropped."""
        ...

    async def result(self, step: str, value: Mapping[str, Any]) -> None:
        """Keep the result of a step. A second one replaces the first."""
        ...

    async def noted(self, step: str, value: Mapping[str, Any]) -> None:
        """As `result`, durable when it returns."""
        ...


class JournaledModel:
    """A ChatModel whose answers are kept. Failures are not: they are tried again.

    `attempt` is the node's. An answer this same attempt got before it was interrupted is not marked `replayed`: it belongs into
    the books of the attempt, which says it again, under the same ids: `handling`, the name of one handling of the task, is kept
    with the answer. Without `attempt` every answer from the journal is marked.
    """

    def __init__(self, model: ChatModel, journal: Journal, *, attempt: int | None = None, handling: str | None = None) -> None:
        self._model, self._journal, self._attempt, self._handling, self._calls = model, journal, attempt, handling, 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self._calls += 1
        step = f"model-{self._calls}"
        entry = self._journal.lookup(step)
        if entry is not None and entry.value is not None:
            return _reply(entry.value, replayed=_of_earlier(entry.value, self._attempt))
        reply = await self._model.complete(request)
        await self._keep(step, reply)
        return reply

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatPiece, None]:
        """An answer from the journal comes at once. One that was not read to its end is not kept."""
        self._calls += 1
        step = f"model-{self._calls}"
        entry = self._journal.lookup(step)
        if entry is not None and entry.value is not None:
            reply = _reply(entry.value, replayed=_of_earlier(entry.value, self._attempt))
            if reply.text:
                yield ChatPiece(reply.text)
            yield ChatPiece(reply=reply)
            return
        async with aclosing(pieces(self._model, request)) as heard:
            async for piece in heard:
                if piece.reply is not None:
                    await self._keep(step, piece.reply)
                yield piece

    async def _keep(self, step: str, reply: ChatReply) -> None:
        await self._journal.result(step, {**_kept(reply), "attempt": self._attempt, "handling": self._handling})


class JournaledTools:
    """Tools that act once however often the execution is repeated. `attempt` and `handling` as for JournaledModel."""

    def __init__(self, tools: Tools, journal: Journal, *, attempt: int | None = None, handling: str | None = None) -> None:
        self._tools, self._journal, self._attempt, self._handling, self._calls = tools, journal, attempt, handling, 0

    def specs(self) -> Sequence[ToolSpec]:
        return self._tools.specs()

    async def call(self, call: ToolCall) -> ToolResult:
        """Raises Park when an earlier attempt may or may not have acted, or did something else at this step."""
        self._calls += 1
        step = f"tool-{self._calls}"
        reads = any(spec.name == call.name and spec.idempotent for spec in self._tools.specs())
        asked = {"tool": call.name, "arguments": dict(call.arguments or {})}
        entry = self._journal.lookup(step) or Entry()
        undone = entry.value is not None and "undone" in entry.value
        if entry.value is not None and not undone:
            if entry.value["asked"] == _mark(asked):
                again = {"replayed": _of_earlier(entry.value, self._attempt), "handling": entry.value.get("handling")}
                return ToolResult(**{**entry.value["result"], **again})
            if entry.intent is not None or not reads:
                raise _park(
                    f"{call.name} is asked for where an earlier attempt called something else; nobody knows whether both are "
                    "wanted. Look at what was done, then answer the customer or run the node again.",
                    details={"now": asked, "earlier": entry.intent or entry.value},
                )
        elif entry.intent is not None and not undone and not (reads and entry.intent.get("tool") == call.name):
            raise _park(
                f"it is unknown whether {entry.intent.get('tool')} acted: an earlier attempt ended between calling it and "
                f"noting its result. It was called with {shown(entry.intent.get('arguments'), 500)}. "
                "Check there, then answer the customer or run the node again.",
                details={"in_doubt": dict(entry.intent)},
            )
        return await self._act(step, call, asked, reads)

    async def _act(self, step: str, call: ToolCall, asked: Mapping[str, Any], reads: bool) -> ToolResult:
        if not reads:
            await self._journal.intent(step, asked)
        try:
            result = await self._tools.call(call)
        except Retryable as failure:  # the port's promise: nothing was done, so a repeat may act
            if not reads:
                await self._journal.result(step, {"undone": str(failure)})
            raise
        kept = {"asked": _mark(asked), "result": asdict(result), "attempt": self._attempt, "handling": self._handling}
        await self._journal.result(step, kept)
        return result


MAX_BEGINNINGS = 2
"""How often a program is begun that nobody saw the end of: a worker may be killed for another reason once."""


class JournaledPrograms:
    """agents.ports.Programs in the execution's journal: a program that broke is known by its text, whoever works on it next."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def begin(self, source: str) -> str | None:
        step = _program_step(source)
        entry = self._journal.lookup(step)
        known = entry.value if entry is not None and entry.value is not None else {}
        if known.get("broke"):
            return str(known["broke"])
        begun = int(known.get("begun", 0))
        if begun >= MAX_BEGINNINGS:
            return f"the worker that ran it ended, {begun} times"
        await self._journal.noted(step, {"begun": begun + 1})
        return None

    async def end(self, source: str, *, broke: str | None = None) -> None:
        if broke:
            await self._journal.noted(_program_step(source), {"broke": broke[:500]})
        else:
            await self._journal.result(_program_step(source), {"begun": 0})


def _program_step(source: str) -> str:
    return f"program-{digest(source)}"


def _park(message: str, *, details: object) -> Park:
    park = Park(message, details=details)
    park.reached = False
    return park


def _mark(asked: Mapping[str, Any]) -> str:
    return f"{asked['tool']} {digest(asked['arguments'])}"


def _kept(reply: ChatReply) -> dict[str, Any]:
    """The reply without its defaults, to keep the journal small."""
    kept: dict[str, Any] = {
        "text": reply.text,
        "provider": reply.provider,
        "model": reply.model,
        "tokens": [reply.input_text_tokens, reply.output_text_tokens, reply.cached_text_tokens],
        "cost": reply.cost_micro_usd,
        "ms": reply.latency_ms,
        "finish": reply.finish_reason,
    }
    if reply.cache_write_text_tokens or reply.reasoning_text_tokens:
        kept["parts"] = [reply.cache_write_text_tokens, reply.reasoning_text_tokens]
    if reply.first_token_ms is not None:
        kept["first_ms"] = reply.first_token_ms
    if reply.attached is not None:
        kept["attached"] = [reply.attached.provider, reply.attached.model, reply.attached.data]
    if reply.attempts:
        kept["attempts"] = [_kept_attempt(attempt) for attempt in reply.attempts]
        kept["spent"] = sum(attempt.cost_micro_usd for attempt in reply.attempts)
    if reply.tool_calls:
        kept["calls"] = [
            [
                call.id,
                call.name,
                None if call.arguments is None else dict(call.arguments),
                call.raw if call.arguments is None else "",
            ]
            for call in reply.tool_calls
        ]
    return kept


def _kept_attempt(attempt: ModelAttempt) -> dict[str, Any]:
    """All of it but its defaults: the events of an attempt that starts over are the same as before."""
    kept: dict[str, Any] = {}
    for field in fields(ModelAttempt):
        value = getattr(attempt, field.name)
        if field.default is MISSING or value != field.default:
            kept[field.name] = list(astuple(value)) if isinstance(value, Usage) else value
    if attempt.candidates:
        kept["candidates"] = [dict(each) for each in attempt.candidates]
    return kept


def _attempt(kept: Mapping[str, Any]) -> ModelAttempt:
    made = dict(kept)
    for name in ("usage", "estimated"):
        if name in made:
            made[name] = Usage(*made[name])
    if "candidates" in made:
        made["candidates"] = list(made["candidates"])
    return ModelAttempt(**made)


def _of_earlier(value: Mapping[str, Any], attempt: int | None) -> bool:
    """Whether an attempt that has ended made this entry, so that it stands in that one's books."""
    return attempt is None or value.get("attempt") != attempt


def _reply(kept: Mapping[str, Any], *, replayed: bool) -> ChatReply:
    tokens, parts = kept["tokens"], kept.get("parts", (0, 0))
    return ChatReply(
        text=kept["text"],
        tool_calls=tuple(ToolCall(*call) for call in kept.get("calls", ())),
        provider=kept["provider"],
        model=kept["model"],
        input_text_tokens=tokens[0],
        output_text_tokens=tokens[1],
        cached_text_tokens=tokens[2],
        cost_micro_usd=kept["cost"],
        latency_ms=kept["ms"],
        finish_reason=kept["finish"],
        replayed=replayed,
        cache_write_text_tokens=parts[0],
        reasoning_text_tokens=parts[1],
        first_token_ms=kept.get("first_ms"),
        attempts=tuple(map(_attempt, kept.get("attempts", ()))),
        handling=kept.get("handling"),
        attached=Attached(*kept["attached"]) if "attached" in kept else None,
    )
