"""Opens the providers the environment configures: the one place that knows which variable belongs to whom."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from agents.router.models import Model
from agents.router.ports import Provider
from connectors.llm.chat_wire import ChatWire
from connectors.llm.endpoint import ANTHROPIC_URL, NO_KEY, OPENAI_URL, Endpoint, Patience
from connectors.llm.messages_wire import MessagesWire
from connectors.llm.provider import EndpointProvider
from connectors.llm.responses_wire import ResponsesWire, only_responses
from connectors.llm.said import Wire

_OPENAI, _RESPONSES = ChatWire(limit_field="max_completion_tokens", forbids_calls=True), ResponsesWire()
_COMPATIBLE, _ANTHROPIC = ChatWire(), MessagesWire()


class Providers(dict[str, Provider]):
    """By name, as Model.provider. Close it, or use it as an async context manager."""

    async def close(self) -> None:
        for provider in self.values():
            if isinstance(provider, EndpointProvider):
                await provider.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def providers(environ: Mapping[str, str], rehearsal_url: str | None = None, *, patience: Patience | None = None) -> Providers:
    """Those that are configured; none is a valid answer. Raises Fatal, naming the variable, for one that cannot be used."""
    waits = patience or patience_of(environ)
    return Providers(
        {endpoint.provider: open_provider(endpoint, patience=waits) for endpoint in endpoints(environ, rehearsal_url)}
    )


def open_provider(endpoint: Endpoint, *, patience: Patience | None = None) -> EndpointProvider:
    return EndpointProvider(endpoint, _WIRES.get(endpoint.provider, _compatible_wire), patience=patience)


def endpoints(environ: Mapping[str, str], rehearsal_url: str | None = None) -> list[Endpoint]:
    """Raises Fatal, naming the variable, for a URL or key that cannot be used."""
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    found = []
    if key := given.get("OPENAI_API_KEY"):
        url = given.get("HIL_OPENAI_BASE_URL", OPENAI_URL)
        found.append(Endpoint("openai", url, key, key_variable="OPENAI_API_KEY", url_variable="HIL_OPENAI_BASE_URL"))
    if key := given.get("ANTHROPIC_API_KEY"):
        # With or without the version at its end: the SDK's paths have it.
        url = given.get("HIL_ANTHROPIC_BASE_URL", ANTHROPIC_URL).rstrip("/").removesuffix("/v1")
        found.append(Endpoint("anthropic", url, key, key_variable="ANTHROPIC_API_KEY", url_variable="HIL_ANTHROPIC_BASE_URL"))
    if own := given.get("HIL_LLM_BASE_URL"):
        found.append(Endpoint("local", own, given.get("HIL_LLM_API_KEY", NO_KEY)))
    if rehearsal_url:
        found.append(Endpoint("rehearsal", rehearsal_url))
    return found


def patience_of(environ: Mapping[str, str]) -> Patience:
    """HIL_LLM_CONNECT_SECONDS, HIL_LLM_FIRST_TOKEN_SECONDS, HIL_LLM_TOTAL_SECONDS; checked where settings are read."""
    usual = Patience()

    def seconds(name: str, default: float) -> float:
        return float(environ.get(f"HIL_LLM_{name}_SECONDS", "") or default)

    return Patience(
        connect=seconds("CONNECT", usual.connect),
        first_token=seconds("FIRST_TOKEN", usual.first_token),
        total=seconds("TOTAL", usual.total),
    )


def _openai_wire(model: Model) -> Wire:
    return _RESPONSES if model.responses_api or only_responses(model.wire) else _OPENAI


def _anthropic_wire(model: Model) -> Wire:
    return _ANTHROPIC


def _compatible_wire(model: Model) -> Wire:
    return _COMPATIBLE


_WIRES = {"openai": _openai_wire, "anthropic": _anthropic_wire}
