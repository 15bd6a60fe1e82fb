"""The router: decides which model answers, asks it, and goes on to the next when it cannot. One for a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from agents.errors import Fatal
from agents.ports import ChatRequest, StreamingModel
from agents.router.calling import Bound
from agents.router.counting import Counter, Counts
from agents.router.explaining import unknown_profile
from agents.router.health import Health
from agents.router.learning import Learned
from agents.router.models import Model, ModelCapability
from agents.router.ports import Provider
from agents.router.profiles import Profile
from agents.router.request import CallContext, Facts, needs_of
from agents.router.routing import Choice, Current, Decision, State, Unavailable, route
from agents.router.stickiness import Conversations
from agents.router.trying import Clock, Outcome, Tries

STREAMING: frozenset[ModelCapability] = frozenset({"streaming"})


class Unrouted(Protocol):
    """A model that is known, and why it is never asked."""

    @property
    def reason(self) -> str: ...


class Offer(Protocol):
    """What there is to choose from (agents.router.catalogue.Catalogue)."""

    @property
    def models(self) -> Mapping[str, Model]: ...
    @property
    def profiles(self) -> Mapping[str, Profile]: ...
    @property
    def unpriced(self) -> Mapping[str, Unrouted]: ...
    @property
    def keys(self) -> Mapping[str, str | None]:
        """Provider → the environment variable that configures it."""
        ...


class Router:
    """Holds what outlives a call: the models, their providers, their health, and what was learned of them."""

    def __init__(
        self,
        offer: Offer,
        providers: Mapping[str, Provider],
        counter: Counter,
        *,
        health: Health | None = None,
        learned: Learned | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`providers` by name, as in Model.provider. A model whose provider is not among them is left out, with that reason."""
        self.models, self.profiles, self.providers = offer.models, offer.profiles, providers
        self._offer = offer
        self.health = health or Health()
        self.learned = learned or Learned()
        self.counter, self.clock, self.sleep = counter, clock, sleep
        self._conversations = Conversations()
        self.tries = Tries(self.health, counter, clock)

    def bound(self, context: CallContext) -> StreamingModel:
        """A model for the calls of one attempt of one node."""
        return Bound(self, context, self.clock())

    def decide(self, request: ChatRequest, context: CallContext, *, streaming: bool = False) -> Decision:
        """Who would be asked, and why. Asks nobody. Raises Fatal for a profile nobody knows."""
        profile = context.profiles.get(request.profile) or self.profiles.get(request.profile)
        if profile is None:
            raise Fatal(unknown_profile(request.profile, [*context.profiles, *self.profiles]))
        facts = Facts(
            needs_of(request, context.required_capabilities | STREAMING if streaming else context.required_capabilities),
            self.learned.expected_output(context.workflow, context.node_id, request.max_tokens),
            request.max_tokens,
            context.supported_models,
        )
        return route(facts, self.models, self._state(request, context, profile), profile, context.constraints)

    def _state(self, request: ChatRequest, context: CallContext, profile: Profile) -> State:
        now, models, providers = self.clock(), self.models, self.providers
        learned, well = self.learned, self.health.all_well(self.clock())
        latency_ms: dict[str, int] = {}
        unavailable: dict[str, Unavailable] = {}
        for name in (*profile.primary, *profile.fallback):
            model = models.get(name)
            if model is None:
                if (unpriced := self._offer.unpriced.get(name)) is not None:
                    unavailable[name] = Unavailable(unpriced.reason)
                continue
            latency_ms[name] = learned.latency_ms(model, now) if learned.knows(name) else model.latency_ms
            if model.provider not in providers:
                unavailable[name] = Unavailable(self._unconfigured(model.provider))
            elif not well and (why := self.health.refusal(model, now)) is not None:
                unavailable[name] = why
        return State(
            input_text_tokens=Counts(self.counter, models, request.messages, request.tools, request.output_schema),
            latency_ms=latency_ms,
            unavailable=unavailable,
            current=self._current(request, context, now),
            tightness="ok" if request.budget is None else request.budget.tightness(),
        )

    def _unconfigured(self, provider: str) -> str:
        variable = self._offer.keys.get(provider)
        return f"no provider {provider} is configured{f': set {variable}' if variable else ''}"

    def _current(self, request: ChatRequest, context: CallContext, now_s: float) -> Current | None:
        if not context.sticky or not context.conversation_id:
            return None
        found = self._conversations.current(_place(context), request.messages, now_s)
        model = self.models.get(found[0]) if found is not None else None
        if found is None or model is None:
            return None
        return Current(model.name, round(found[1] * self.learned.cache_share(model)))

    def learn(self, choice: Choice, outcome: Outcome, request: ChatRequest, context: CallContext) -> None:
        """From an answer: how long it took and how long it was, who has the conversation's beginning in its cache."""
        assert outcome.reply is not None
        now, model, usage = self.clock(), choice.model, outcome.usage
        self.learned.answered(model, outcome.reply.latency_ms, now)
        self.learned.wrote(context.workflow, context.node_id, usage.output_text_tokens)
        if outcome.reply.usage is not None and usage.input_text_tokens:
            self.counter.learn(model, choice.estimated.input_text_tokens, usage.input_text_tokens)
        if context.conversation_id:
            place = _place(context)
            before = self._conversations.current(place, request.messages, now)
            if before is not None and before[0] == model.name:
                self.learned.cached(model, before[1], usage.cached_text_tokens)
            self._conversations.asked(place, model.name, request.messages, usage.input_text_tokens, now)


def _place(context: CallContext) -> tuple[str, str]:
    """Calls of one node in one conversation begin alike; those of two nodes do not."""
    return context.conversation_id, f"{context.workflow}/{context.node_id}"
