"""One try at one model: within its limits and the budget, and written down whatever comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from agents.errors import note_attempts
from agents.ports import ChatRequest, ModelAttempt, Usage
from agents.router.budget import OverBudget, Reservation
from agents.router.counting import Counter
from agents.router.health import Health
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
        ticket = self.health.enter(model, now)
        try:
            reply = await provider.complete(model, bounded)
        except ProviderFailure as failure:
            ticket.failed(failure, self.clock())
            usage = failure.usage or NOTHING
            cost = model.rates.micro_usd(usage) if failure.usage is not None else 0
            if reservation is not None:
                await (reservation.settle(cost) if cost else reservation.release())
            return Outcome(
                _attempt(
                    choice,
                    decision,
                    failure.code,
                    first,
                    error=str(failure),
                    usage=usage,
                    cost=cost,
                    latency_ms=failure.latency_ms or self._since(now),
                    first_token_ms=failure.first_token_ms,
                ),
                failure=failure,
            )
        except BaseException as gone:
            ticket.given_up()
            if not isinstance(gone, asyncio.CancelledError):
                if reservation is not None:
                    await reservation.release()
                raise  # a provider with a defect
            if reservation is not None:
                await reservation.settle(choice.cost_micro_usd)
            # The provider goes on and asks for its money: it is booked as it was estimated.
            abandoned = _attempt(
                choice,
                decision,
                "cancelled",
                first,
                error="given up before it answered; booked as estimated",
                usage=choice.estimated,
                cost=choice.cost_micro_usd,
                latency_ms=self._since(now),
            )
            note_attempts(gone, (abandoned,))
            raise
        ticket.succeeded(self.clock())
        usage = reply.usage or self._counted(model, asked, reply)
        cost = model.rates.micro_usd(usage)
        if reservation is not None:
            await reservation.settle(cost)
        made = _attempt(
            choice,
            decision,
            "ok",
            first,
            usage=usage,
            cost=cost,
            latency_ms=reply.latency_ms,
            first_token_ms=reply.first_token_ms,
        )
        return Outcome(made, reply=reply, usage=usage)

    def _counted(self, model: Model, asked: int, reply: ProviderReply) -> Usage:
        """The usage of an endpoint that does not tell."""
        written = reply.text + "".join(f"{call.name} {call.raw}" for call in reply.tool_calls)
        return Usage(input_text_tokens=asked, output_text_tokens=self.counter.count_text(model, written))

    def _since(self, start_s: float) -> int:
        return max(0, round((self.clock() - start_s) * 1000))


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
