"""A small world for the router: models with plain prices, a counter of words, scripted providers, a clock by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.ports import ChatMessage, ChatRequest, ToolSpec, Usage
from agents.router.budget import OverBudget, Tightness
from agents.router.models import Model, ModelCapability
from agents.router.ports import Delta, FailureKind, ProviderFailure, ProviderReply
from agents.router.profiles import Profile, Weights
from agents.router.router import Router

ALL: frozenset[ModelCapability] = frozenset({"tools", "vision", "streaming", "structured_output", "reasoning"})


@dataclass(frozen=True)
class PlainRates:
    """Micro-dollars for a thousand text tokens."""

    input: int
    output: int
    cached: int | None = None

    @property
    def row(self) -> Mapping[str, Any]:
        return {"input": self.input, "output": self.output}

    def micro_usd(self, usage: Usage) -> int:
        return self.cost(usage.input_text_tokens, usage.output_text_tokens, usage.cached_text_tokens)

    def cost(self, given: int, made: int, cached: int = 0) -> int:
        total = (given - cached) * self.input + cached * (self.input if self.cached is None else self.cached) + made * self.output
        return (2 * total + 1000) // 2000


def model(
    name: str,
    *,
    provider: str = "openai",
    context: int = 100_000,
    input: int = 500,
    output: int = 1500,
    cached: int | None = None,
    latency_ms: int = 800,
    quality: float = 7.0,
    capabilities: frozenset[ModelCapability] = ALL,
    max_output: int | None = None,
) -> Model:
    return Model(
        name=name,
        provider=provider,
        wire=f"{name}-wire",
        context=context,
        capabilities=capabilities,
        latency_ms=latency_ms,
        quality=quality,
        rates=PlainRates(input, output, cached),
        max_output=max_output,
        encoding="words",
    )


BLUEPRINT = {
    each.name: each
    for each in (
        model("gpt-4-turbo", context=128_000, input=10_000, output=30_000, latency_ms=3000, quality=9.5),
        model("gpt-4", context=8_192, input=30_000, output=60_000, latency_ms=4000, quality=10.0),
        model("gpt-3.5-turbo", context=16_384, input=500, output=1_500, latency_ms=800, quality=7.0),
        model("claude-3-opus", provider="anthropic", context=200_000, input=15_000, output=75_000, latency_ms=3500, quality=9.8),
        model("claude-3-sonnet", provider="anthropic", context=200_000, input=3_000, output=15_000, latency_ms=2000, quality=8.5),
        model("claude-3-haiku", provider="anthropic", context=200_000, input=250, output=1_250, latency_ms=600, quality=7.5),
    )
}
FAST = Profile(
    "fast",
    ("gpt-3.5-turbo", "claude-3-haiku"),
    ("gpt-4-turbo", "claude-3-sonnet"),
    10_000,
    1000,
    Weights(latency=0.6, cost=0.3, quality=0.1),
)
BALANCED = Profile(
    "balanced",
    ("gpt-4-turbo", "claude-3-sonnet"),
    ("gpt-4", "claude-3-opus"),
    100_000,
    3000,
    Weights(latency=0.33, cost=0.33, quality=0.34),
)
POWERFUL = Profile(
    "powerful",
    ("gpt-4", "claude-3-opus"),
    ("gpt-4-turbo", "claude-3-sonnet"),
    1_000_000,
    5000,
    Weights(latency=0.2, cost=0.2, quality=0.6),
)
PROFILES = {each.name: each for each in (FAST, BALANCED, POWERFUL)}


class Words:
    """A counter that takes a word for a text token and four for a message."""

    def __init__(self) -> None:
        self.learned: list[tuple[str, int, int]] = []

    def count_text(self, model: Model, text: str) -> int:
        return len(text.split())

    def count_request(self, model: Model, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec], output_schema: Any) -> int:
        return sum(4 + len(message.content.split()) for message in messages) + 20 * len(tools)

    def learn(self, model: Model, estimated: int, actual: int) -> None:
        self.learned.append((model.name, estimated, actual))


Behaviour = Callable[[Model, ChatRequest], ProviderReply | ProviderFailure]


def replies(text: str = "hello", *, input: int = 5, output: int = 3, latency_ms: int = 100) -> ProviderReply:
    return ProviderReply(text, (), Usage(input_text_tokens=input, output_text_tokens=output), "stop", latency_ms)


def fails(kind: FailureKind = "try_next", code: str = "http_500", **more: Any) -> ProviderFailure:
    return ProviderFailure(kind, more.pop("message", f"it failed with {code}"), code=code, **more)


@dataclass
class Scripted:
    """A provider whose models do what `behaves` says, by name; the others answer."""

    name: str
    behaves: dict[str, Behaviour | ProviderReply | ProviderFailure] = field(default_factory=dict)
    asked: list[tuple[str, ChatRequest]] = field(default_factory=list)
    wait: asyncio.Event | None = None
    """When set, every call waits for it."""

    async def complete(self, model: Model, request: ChatRequest) -> ProviderReply:
        self.asked.append((model.name, request))
        if self.wait is not None:
            await self.wait.wait()
        behaviour = self.behaves.get(model.name, replies())
        said = behaviour(model, request) if callable(behaviour) else behaviour
        if isinstance(said, ProviderFailure):
            raise said
        return said

    async def stream(self, model: Model, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        raise AssertionError("nobody streams here")
        yield


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Purse:
    """A budget of so many micro-dollars, and all that was done to it."""

    left: int
    tight: Tightness = "ok"
    held: int = 0
    spent: int = 0

    async def reserve(self, micro_usd: int) -> Hold:
        await asyncio.sleep(0)
        if micro_usd > self.left - self.held:
            raise OverBudget(f"the purse has {self.left - self.held} left", "purse", held=micro_usd <= self.left)
        self.held += micro_usd
        return Hold(self, micro_usd)

    def tightness(self) -> Tightness:
        return self.tight


@dataclass
class Hold:
    purse: Purse
    micro_usd: int

    async def settle(self, actual_micro_usd: int) -> None:
        await self.release()
        self.purse.left -= actual_micro_usd
        self.purse.spent += actual_micro_usd

    async def release(self) -> None:
        self.purse.held -= self.micro_usd


@dataclass
class World:
    models: Mapping[str, Model] = field(default_factory=lambda: dict(BLUEPRINT))
    profiles: Mapping[str, Profile] = field(default_factory=lambda: dict(PROFILES))
    openai: Scripted = field(default_factory=lambda: Scripted("openai"))
    anthropic: Scripted = field(default_factory=lambda: Scripted("anthropic"))
    clock: Clock = field(default_factory=Clock)
    counter: Words = field(default_factory=Words)

    unpriced: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str | None] = field(default_factory=lambda: {"anthropic": "ANTHROPIC_API_KEY"})

    def router(self, **more: Any) -> Router:
        providers = {"openai": self.openai, "anthropic": self.anthropic}
        return Router(self, providers, self.counter, clock=self.clock, **more)

    def asked(self) -> list[str]:
        return [name for name, _ in (*self.openai.asked, *self.anthropic.asked)]


def says(text: str, *, profile: str = "fast", **more: Any) -> ChatRequest:
    return ChatRequest(profile, (ChatMessage("user", text),), **more)
