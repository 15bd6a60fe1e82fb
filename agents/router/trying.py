"""One try at one model: within its limits and the budget, and written down whatever comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agents.errors import note_attempts
from agents.ports import ChatRequest, ModelAttempt, Usage
from agents.router.budget import OverBudget, Reservation
from agents.router.counting import Counter
from agents.router.health import Health, Ticket
from agents.router.models import Model
from agents.router.ports import Provider, ProviderFailure, ProviderReply
from agents.router.routing import Choice, Decision, Unavailable

Clock = Callable[[], float]
"""Seconds, from any start, never backwards."""


NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try: its record, and the reply, the provider's failure, the budget's, or that it was too late."""

    attempt: ModelAttempt | None = None
    reply: ProviderReply | None = None
    failure: ProviderFailure | None = None
    over_budget: OverBudget | None = None
    unavailable: Unavailable | None = None
    usage: Usage = NOTHING


@dataclass(frozen=True, slots=True)
class Tries:
    """What every try needs."""

    health: Health
    counter: Counter
    clock: Clock

    async def once(self, choice: Choice, decision: Decision, provider: Provider, request: ChatRequest, *, first: bool) -> Outcome:
        """Reserve, ask, settle. A cancellation while the model is being asked carries the record of the try (`attempts_of`)."""
        begun = await self.begin(choice, decision, request, first=first)
        if isinstance(begun, Outcome):
            return begun
        try:
            reply = await provider.complete(choice.model, begun.request)
        except ProviderFailure as failure:
            return await begun.failed(failure)
        except asyncio.CancelledError as gone:
            note_attempts(gone, (await begun.given_up(),))
            raise
        except BaseException:
            await begun.abandoned()
            raise  # a provider with a defect
        return await begun.answered(reply)

    async def begin(self, choice: Choice, decision: Decision, request: ChatRequest, *, first: bool) -> Try | Outcome:
        """Reserve, and take the model's ticket. An Outcome when it came to nothing before anybody was asked."""
        model = choice.model
        asked = choice.estimated.input_text_tokens
        bounded, most = within(request, model, asked, decision.max_cost_micro_usd)
        reservation: Reservation | None = None
        if request.budget is not None:
            try:
                reservation = await request.budget.reserve(most)
            except OverBudget as over:
                return Outcome(_attempt(choice, decision, "over_budget", first, error=str(over)), over_budget=over)
        now = self.clock()
        unavailable = self.health.refusal(model, now)
        if unavailable is not None:  # since the decision, another call has found out
            if reservation is not None:
                await reservation.release()
            return Outcome(unavailable=unavailable)
        return Try(self, choice, decision, first, bounded, reservation, self.health.enter(model, now), now)


@dataclass(frozen=True, slots=True)
class Try:
    """A try that has begun. It ends once, by one of its methods: each settles, tells the breaker, and writes it down."""

    tries: Tries
    choice: Choice
    decision: Decision
    first: bool
    request: ChatRequest
    """What is asked: no longer an answer than may be paid."""
    reservation: Reservation | None
    ticket: Ticket
    began_s: float

    async def answered(self, reply: ProviderReply) -> Outcome:
        self.ticket.succeeded(self.tries.clock())
        written = reply.text + "".join(f"{call.name} {call.raw}" for call in reply.tool_calls)
        usage = reply.usage or self.usage_of(written)
        cost = await self._settled(usage)
        times = {"latency_ms": reply.latency_ms, "first_token_ms": reply.first_token_ms}
        return Outcome(self._written("ok", usage=usage, cost=cost, **times), reply=reply, usage=usage)

    async def failed(self, failure: ProviderFailure) -> Outcome:
        self.ticket.failed(failure, self.tries.clock())
        usage = failure.usage or NOTHING
        cost = await self._settled(usage)
        attempt = self._written(
            failure.code,
            error=str(failure),
            usage=usage,
            cost=cost,
            latency_ms=failure.latency_ms or self.since_ms(),
            first_token_ms=failure.first_token_ms,
        )
        return Outcome(attempt, failure=failure)

    async def given_up(self) -> ModelAttempt:
        """Cut off before anything came. The provider goes on and asks for its money: it is booked as it was estimated."""
        self.ticket.given_up()
        usage, cost = self.choice.estimated, self.choice.cost_micro_usd
        if self.reservation is not None:
            await self.reservation.settle(cost)
        error = "given up before it answered; booked as estimated"
        return self._written("cancelled", error=error, usage=usage, cost=cost, latency_ms=self.since_ms())

    async def stopped(
        self, outcome: str, error: str, usage: Usage, *, latency_ms: int, first_token_ms: int | None
    ) -> ModelAttempt:
        """Broken off by us while it wrote: what has come is paid. Of the model it says nothing."""
        self.ticket.given_up()
        cost = await self._settled(usage)
        return self._written(outcome, error=error, usage=usage, cost=cost, latency_ms=latency_ms, first_token_ms=first_token_ms)

    async def abandoned(self) -> None:
        """Something of ours is broken; nothing is known of the model."""
        self.ticket.given_up()
        if self.reservation is not None:
            await self.reservation.release()

    def usage_of(self, written: str) -> Usage:
        """The usage of an endpoint that does not tell."""
        asked = self.choice.estimated.input_text_tokens
        return Usage(input_text_tokens=asked, output_text_tokens=self.tries.counter.count_text(self.choice.model, written))

    def since_ms(self) -> int:
        return max(0, round((self.tries.clock() - self.began_s) * 1000))

    async def _settled(self, usage: Usage) -> int:
        """What the usage comes to, in micro-dollars, after it was told the budget."""
        cost = self.choice.model.rates.micro_usd(usage) if usage is not NOTHING else 0
        if self.reservation is not None:
            await (self.reservation.settle(cost) if cost else self.reservation.release())
        return cost

    def _written(self, outcome: str, **facts: Any) -> ModelAttempt:
        return _attempt(self.choice, self.decision, outcome, self.first, **facts)


def within(request: ChatRequest, model: Model, asked: int, limit_micro_usd: int) -> tuple[ChatRequest, int]:
    """The request with no longer an answer than the model can give and the limit can pay; and the most it can then cost."""
    longest = request.max_tokens if model.max_output is None else min(request.max_tokens, model.max_output)
    most = model.rates.cost(asked, longest)
    if most > limit_micro_usd:
        low, high = 1, longest  # the decision has made sure that the expected answer fits
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if model.rates.cost(asked, middle) <= limit_micro_usd else (low, middle - 1)
        longest, most = low, model.rates.cost(asked, low)
    return (request if longest == request.max_tokens else replace(request, max_tokens=longest)), most


def _attempt(
    choice: Choice,
    decision: Decision,
    outcome: str,
    first: bool,
    *,
    error: str | None = None,
    usage: Usage = NOTHING,
    cost: int = 0,
    latency_ms: int = 0,
    first_token_ms: int | None = None,
) -> ModelAttempt:
    chosen = choice is decision.chain[0]
    place = 0 if chosen else next(at for at, each in enumerate(decision.chain) if each is choice)
    after = decision.chain[place + 1 : place + 2]
    return ModelAttempt(
        provider=choice.model.provider,
        model=choice.model.name,
        outcome=outcome,
        error=error,
        usage=usage,
        cost_micro_usd=cost,
        latency_ms=latency_ms,
        first_token_ms=first_token_ms,
        estimated=choice.estimated,
        estimated_cost_micro_usd=choice.cost_micro_usd,
        estimated_latency_ms=choice.latency_ms,
        reasoning=decision.reasoning if chosen else f"{choice.model.name}: the ones before it did not answer",
        runner_up=after[0].model.name if after else None,
        candidates=decision.candidates() if first else (),
        price=model_price(choice.model),
    )


def model_price(model: Model) -> dict[str, object]:
    """The price row of a model, as events carry it."""
    return dict(model.rates.row)
