"""The same answers in the words of each provider, and a provider to hear them with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from agents.ports import ChatMessage, ChatRequest, ToolSpec, Usage
from agents.router.models import Model
from connectors.llm.endpoint import Endpoint, Patience
from connectors.llm.opening import open_provider
from connectors.llm.provider import EndpointProvider
from tests.unit.llm.misbehaving import answer, events, serving, streamed

KEY = "sk-test-0123456789abcdef"
ORDER = ToolSpec("shopify.get_order", "Reads an order.", {"type": "object", "properties": {"order_id": {"type": "string"}}})
ASKED = ChatRequest("fast", (ChatMessage("system", "Be kind."), ChatMessage("user", "Where is order 7?")))


class Free:
    row: Mapping[str, Any] = {}

    def micro_usd(self, usage: Usage) -> int:
        return 0


def model(provider: str = "openai", wire: str = "", **changes: Any) -> Model:
    wires = {"openai": "gpt-5.4-mini", "anthropic": "claude-sonnet-4-5"}
    given: dict[str, Any] = {
        "name": "m",
        "provider": provider,
        "wire": wire or wires.get(provider, "m"),
        "context": 100_000,
        "capabilities": frozenset({"tools", "streaming", "structured_output"}),
        "latency_ms": 1,
        "quality": 5.0,
        "rates": Free(),
    }
    return Model(**(given | changes))


@dataclass(frozen=True)
class Dialect:
    """How one provider says things. `usage` is 1,000 tokens in, 800 of them cached, and 100 out, 30 of them thought."""

    provider: str
    wire: str = ""

    usage_normal = Usage(1000, 800, 0, 100, 30)

    @property
    def model(self) -> Model:
        return model(self.provider, self.wire)

    def usage(self, **changes: Any) -> dict[str, Any]:
        if self.provider == "anthropic":
            said = {"input_tokens": 200, "cache_read_input_tokens": 800, "output_tokens": 100}
            return {**said, "output_tokens_details": {"thinking_tokens": 30}, **changes}
        details = {"prompt_tokens_details": {"cached_tokens": 800}, "completion_tokens_details": {"reasoning_tokens": 30}}
        return {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, **details, **changes}

    def whole(self, text: str = "hi", *, usage: Any = None, finish: str = "", calls: Any = (), refusal: str | None = None) -> Any:
        """The body of a finished answer. `calls`: (id, name, raw arguments)."""
        used = self.usage() if usage is None else usage
        if self.provider == "anthropic":
            blocks: list[Any] = [{"type": "text", "text": text}] if text else []
            blocks += [{"type": "tool_use", "id": i, "name": n, "input": json.loads(raw)} for i, n, raw in calls]
            stop = finish or ("refusal" if refusal else "tool_use" if calls else "end_turn")
            return {"type": "message", "role": "assistant", "content": blocks, "stop_reason": stop, "usage": used or None}
        message = {"role": "assistant", "content": text, "refusal": refusal}
        if calls:
            made = [{"id": i, "type": "function", "function": {"name": n, "arguments": raw}} for i, n, raw in calls]
            message["tool_calls"] = made
        choice = {"index": 0, "finish_reason": finish or ("tool_calls" if calls else "stop"), "message": message}
        return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": used or None}

    def opening(self) -> bytes:
        """The first event of a stream: the model works on it, nothing is said yet."""
        if self.provider == "anthropic":
            used = {"input_tokens": 200, "cache_read_input_tokens": 800, "output_tokens": 1}
            return events({"type": "message_start", "message": {"usage": used, "content": []}}, {"type": "ping"}, named=True)
        return events({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})

    def piece(self, text: str) -> bytes:
        if self.provider == "anthropic":
            delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            return events(delta, named=True)
        return events({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    def wish(self, raw: str) -> bytes:
        """A tool call, its arguments in two pieces."""
        half = len(raw) // 2
        if self.provider == "anthropic":
            begun = {"type": "tool_use", "id": "c1", "name": "shopify_get_order", "input": {}}
            grown = [{"type": "input_json_delta", "partial_json": part} for part in (raw[:half], raw[half:])]
            return events(
                {"type": "content_block_start", "index": 1, "content_block": begun},
                *({"type": "content_block_delta", "index": 1, "delta": each} for each in grown),
                {"type": "content_block_stop", "index": 1},
                named=True,
            )
        first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "shopify_get_order", "arguments": raw[:half]}}
        rest = {"index": 0, "function": {"arguments": raw[half:]}}
        return events(*({"choices": [{"index": 0, "delta": {"tool_calls": [each]}}]} for each in (first, rest)))

    def closing(self, *, finish: str = "", usage: Any = None) -> bytes:
        used = self.usage() if usage is None else usage
        if self.provider == "anthropic":
            end = {"type": "message_delta", "delta": {"stop_reason": finish or "end_turn"}, "usage": used or None}
            return events(end, {"type": "message_stop"}, named=True)
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish or "stop"}]}
        return events(last, {"choices": [], "usage": used or None}, "[DONE]")

    def error(self, status: int, message: str = "the reason", kind: str = "t", code: Any = None, **headers: str) -> bytes:
        return answer(self.error_body(message, kind, code), status, **headers)

    def error_body(self, message: str, kind: str = "t", code: Any = None) -> dict[str, Any]:
        if self.provider == "anthropic":
            return {"type": "error", "error": {"type": kind, "message": message}}
        return {"error": {"message": message, "type": kind, "code": code}}

    def broken_off(self, kind: str, message: str = "the reason") -> bytes:
        """An error inside a stream."""
        return events(self.error_body(message, kind), named=self.provider == "anthropic")


OPENAI, ANTHROPIC = Dialect("openai"), Dialect("anthropic")
BOTH = (OPENAI, ANTHROPIC)


def stream_of(said: Dialect, *pieces: str, finish: str = "", usage: Any = None) -> tuple[Any, ...]:
    return streamed(said.opening(), *(said.piece(piece) for piece in pieces), said.closing(finish=finish, usage=usage))


@contextlib.asynccontextmanager
async def provider_at(url: str, dialect: Dialect, patience: Patience | None = None) -> AsyncIterator[EndpointProvider]:
    base = url if dialect.provider == "anthropic" else f"{url}/v1"
    async with open_provider(Endpoint(dialect.provider, base, KEY), patience=patience) as provider:
        yield provider


async def complete(
    dialect: Dialect, *script: Any, request: ChatRequest = ASKED, patience: Patience | None = None, **of: Any
) -> Any:
    """The reply and what the server was asked."""
    async with serving(*script) as server, provider_at(server.url, dialect, patience) as provider:
        return await provider.complete(model(dialect.provider, dialect.wire, **of), request), server.asked


async def stream(dialect: Dialect, *script: Any, request: ChatRequest = ASKED, patience: Patience | None = None) -> Any:
    """All deltas and what the server was asked."""
    async with serving(*script) as server, provider_at(server.url, dialect, patience) as provider:
        return [delta async for delta in provider.stream(dialect.model, request)], server.asked
