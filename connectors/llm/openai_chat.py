"""agents.ports.ChatModel with one model a profile and no second choice, over one provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from agents.errors import Fatal, Retryable
from agents.ports import ChatReply, ChatRequest, Usage
from agents.router.models import Model as RouterModel
from agents.router.ports import ProviderFailure
from connectors.llm.endpoint import Patience
from connectors.llm.opening import open_provider
from connectors.llm.profiles import LlmSettings, Model, Price
from connectors.llm.usage import guessed, tokens

_WINDOW = 128_000


@dataclass(frozen=True, slots=True)
class _Rates:
    price: Price

    @property
    def row(self) -> Mapping[str, Any]:
        return {}

    def micro_usd(self, usage: Usage) -> int:
        return self.price.micro_usd(
            input_text_tokens=usage.input_text_tokens,
            output_text_tokens=usage.output_text_tokens,
            cached_text_tokens=usage.cached_text_tokens,
        )


class OpenAIChat:
    """One client for the process; close it, or use it as an async context manager."""

    def __init__(self, settings: LlmSettings, *, patience: Patience | None = None) -> None:
        self._settings = settings
        self._provider = open_provider(settings.endpoint, patience=patience)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises Retryable for what may pass (429, 5xx, timeouts, connection), Fatal for what will not."""
        model = self._settings.model(request.profile)
        routed = _routed(model)
        try:
            reply = await self._provider.complete(routed, request)
        except ProviderFailure as failure:
            if failure.kind == "try_next" or failure.code == "http_429":
                again = Retryable(str(failure), retry_after_seconds=failure.retry_after_s)
                raise again.at(model.provider, model.name) from failure
            raise Fatal(str(failure)).at(model.provider, model.name) from failure
        usage = reply.usage or Usage(guessed(request), output_text_tokens=tokens(len(reply.text)))
        return ChatReply(
            text=reply.text,
            tool_calls=reply.tool_calls,
            provider=model.provider,
            model=model.name,
            input_text_tokens=usage.input_text_tokens,
            output_text_tokens=usage.output_text_tokens,
            cached_text_tokens=usage.cached_text_tokens,
            cost_micro_usd=routed.rates.micro_usd(usage),
            latency_ms=reply.latency_ms,
            finish_reason=reply.finish_reason,
            cache_write_text_tokens=usage.cache_write_text_tokens,
            reasoning_text_tokens=usage.reasoning_text_tokens,
        )

    async def close(self) -> None:
        await self._provider.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _routed(model: Model) -> RouterModel:
    return RouterModel(
        name=model.name,
        provider=model.provider,
        wire=model.wire,
        context=model.context or _WINDOW,
        capabilities=frozenset({"tools", "streaming", "structured_output"}),
        latency_ms=model.latency_ms or 0,
        quality=model.quality or 0.0,
        rates=_Rates(model.price),
        fixed_temperature=model.fixed_temperature,
    )
