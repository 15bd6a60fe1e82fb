"""What the router needs from a provider: one try at one model, its usage told apart, its errors in four classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from agents.ports import Attached, ChatRequest, ToolCall, Usage
from agents.router.models import Model

FailureKind = Literal["try_next", "cool_down", "key_broken", "callers_fault"]
"""`try_next`: this model failed, another may not (5xx, timeouts, connection, unreadable): counts against its breaker.
`cool_down`: 429; wait `retry_after_s` before this model is asked again; no breakage.
`key_broken`: 401, 402, a 403 that speaks of the key, no credit: no breakage of a model.
`callers_fault`: other 4xx: this provider will not take the request, and the others are asked once, for a refusal may be a
provider's own; with `too_long` a model with a larger window may take it, there too."""


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """One model's answer. `usage` None: the endpoint did not say, the router estimates."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage | None
    finish_reason: str
    """As ChatReply.finish_reason."""
    latency_ms: int
    first_token_ms: int | None = None
    """Until the first token arrived, for a streamed call."""
    attached: Attached | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed answer; the last one carries the whole reply."""

    text: str = ""
    reply: ProviderReply | None = None
    paid: Usage | None = None
    """What is paid if the caller stops reading here: the provider's count as far as it gave one, an estimate for the rest."""


class ProviderFailure(Exception):
    """One try at one model has failed. The message names the endpoint, the cause and the way out, and never holds a key."""

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        code: str,
        retry_after_s: float | None = None,
        too_long: bool = False,
        usage: Usage | None = None,
        usage_estimated: bool = False,
        latency_ms: int = 0,
        first_token_ms: int | None = None,
    ) -> None:
        """`code`: for tables, e.g. `http_529`, `timeout_first_token`, `reset`, `bad_json`. `usage`: what is paid all the same,
        `usage_estimated` when the provider did not count it to the end."""
        super().__init__(message)
        self.kind, self.code, self.retry_after_s, self.too_long = kind, code, retry_after_s, too_long
        self.usage, self.usage_estimated = usage, usage_estimated
        self.latency_ms, self.first_token_ms = latency_ms, first_token_ms


class Provider(Protocol):
    """One endpoint with one key. No retries of its own: the router decides what is tried next."""

    name: str
    """As Model.provider: openai | anthropic | local | rehearsal."""

    async def complete(self, model: Model, request: ChatRequest) -> ProviderReply:
        """Raises ProviderFailure alone."""
        ...

    def stream(self, model: Model, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Pieces as they come, the last with the reply. Raises ProviderFailure, with the usage so far when it breaks off."""
        ...
