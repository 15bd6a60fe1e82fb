"""The router: decides which model answers, asks it, and goes on to the next when it cannot. One for a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.errors import Fatal, NodeFailure, attempts_of, note_attempts
from agents.ports import ChatModel, ChatReply, ChatRequest, ModelAttempt
from agents.router.counting import Counter, Counts
from agents.router.course import Course
from agents.router.explaining import unknown_profile
from agents.router.health import Health
from agents.router.learning import Learned
from agents.router.models import Model
from agents.router.ports import Provider
from agents.router.profiles import Profile
from agents.router.request import CallContext, Facts, needs_of
from agents.router.routing import Choice, Current, Decision, LeftOut, State, Unavailable, route
from agents.router.stickiness import Conversations
from agents.router.trying import Clock, Outcome, Tries


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
    ) -> None:
        """`providers` by name, as in Model.provider. A model whose provider is not among them is left out, with that reason."""
        self.models, self.profiles, self.providers = offer.models, offer.profiles, providers
        self._offer = offer
        self.health = health or Health()
        self.learned = learned or Learned()
        self.counter, self.clock = counter, clock
        self._conversations = Conversations()
        self._tries = Tries(self.health, counter, clock)

    def bound(self, context: CallContext) -> ChatModel:
        """A model for the calls of one attempt of one node."""
        return _Bound(self, context)

    def decide(self, request: ChatRequest, context: CallContext) -> Decision:
        """Who would be asked, and why. Asks nobody. Raises Fatal for a profile nobody knows."""
        profile = context.profiles.get(request.profile) or self.profiles.get(request.profile)
        if profile is None:
            raise Fatal(unknown_profile(request.profile, [*context.profiles, *self.profiles]))
        facts = Facts(
            needs_of(request, context.required_capabilities),
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

    def _learn(self, choice: Choice, outcome: Outcome, request: ChatRequest, context: CallContext) -> None:
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


@dataclass(frozen=True, slots=True)
class _Bound:
    """agents.ports.ChatModel."""

    _router: Router
    _context: CallContext

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises Retryable or Fatal; both carry the tries that were made."""
        course = Course()
        try:
            return await self._along(request, course)
        except NodeFailure as failure:
            failure.attempts = tuple(course.attempts)
            raise
        except asyncio.CancelledError as cancelled:
            note_attempts(cancelled, (*course.attempts, *attempts_of(cancelled)))
            raise

    async def _along(self, request: ChatRequest, course: Course) -> ChatReply:
        router, context = self._router, self._context
        decision = router.decide(request, context)
        for choice in decision.chain:
            reason = course.skip(choice)
            if reason is not None:
                course.late.append(LeftOut(choice.model.name, reason))
                continue
            outcome = await router._tries.once(
                choice, decision, router.providers[choice.model.provider], request, first=not course.attempts
            )
            if outcome.unavailable is not None:
                course.late.append(LeftOut(choice.model.name, *outcome.unavailable))
                continue
            assert outcome.attempt is not None
            course.attempts.append(outcome.attempt)
            if outcome.reply is not None:
                router._learn(choice, outcome, request, context)
                return _reply(outcome, course.attempts)
            course.note(choice, outcome)
        spent = request.budget is not None and request.budget.tightness() == "exhausted"
        raise course.end(decision, router.health, router.clock(), spent=spent)


def _reply(outcome: Outcome, attempts: Sequence[ModelAttempt]) -> ChatReply:
    reply, attempt, usage = outcome.reply, outcome.attempt, outcome.usage
    assert reply is not None
    assert attempt is not None
    return ChatReply(
        text=reply.text,
        tool_calls=reply.tool_calls,
        provider=attempt.provider,
        model=attempt.model,
        input_text_tokens=usage.input_text_tokens,
        output_text_tokens=usage.output_text_tokens,
        cached_text_tokens=usage.cached_text_tokens,
        cost_micro_usd=attempt.cost_micro_usd,
        latency_ms=reply.latency_ms,
        finish_reason=reply.finish_reason,
        cache_write_text_tokens=usage.cache_write_text_tokens,
        reasoning_text_tokens=usage.reasoning_text_tokens,
        first_token_ms=reply.first_token_ms,
        attempts=tuple(attempts),
    )
