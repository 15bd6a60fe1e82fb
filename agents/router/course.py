"""How far one request has come along its chain, and how it ends when nobody has answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agents.errors import Fatal, NodeFailure, Retryable
from agents.ports import ChatRequest, ModelAttempt
from agents.router.budget import OverBudget
from agents.router.explaining import all_failed, nothing_fits
from agents.router.health import Health
from agents.router.routing import Choice, Decision, LeftOut
from agents.router.trying import Outcome


@dataclass(slots=True)
class Course:
    request: ChatRequest
    attempts: list[ModelAttempt] = field(default_factory=list)
    failed: list[tuple[Choice, Outcome]] = field(default_factory=list)
    late: list[LeftOut] = field(default_factory=list)
    """Passed over after the decision, because of what others have said since."""
    refused_keys: set[str] = field(default_factory=set)
    """Providers whose account pays for nothing."""
    refused_by: set[str] = field(default_factory=set)
    """Providers that refused the request as it is. A refusal speaks of both: another provider may take it."""
    too_small: int = 0
    """The largest window that was too small."""
    too_dear: int | None = None
    """What the budget refused: something as dear need not be tried."""

    def through(self, decision: Decision) -> Iterator[Choice]:
        """Whom to ask next, as long as nobody has answered."""
        for choice in decision.chain:
            reason = self.skip(choice)
            if reason is None:
                yield choice
            else:
                self.late.append(LeftOut(choice.model.name, reason))

    def tried(self, attempt: ModelAttempt) -> None:
        """Write a try down, and tell whoever wants to hear of it at once."""
        self.attempts.append(attempt)
        if self.request.on_attempt is not None:
            self.request.on_attempt(attempt)

    def came_of(self, choice: Choice, outcome: Outcome, *, read: bool = False) -> None:
        """What came of asking it. Raises when nobody else may be asked: `read` says that something of its answer was."""
        if outcome.unavailable is not None:
            self.late.append(LeftOut(choice.model.name, *outcome.unavailable))
            return
        assert outcome.attempt is not None
        self.tried(outcome.attempt)
        if outcome.reply is None:
            if read:
                raise self.broken_off(choice, outcome)
            self.note(choice, outcome)

    def skip(self, choice: Choice) -> str | None:
        """Why the next of the chain need not be asked, after what the ones before it have said."""
        model = choice.model
        if model.provider in self.refused_keys:
            return f"the key of {model.provider} was just refused"
        if model.provider in self.refused_by:
            return f"{model.provider} has just refused this request"
        if model.context <= self.too_small:
            return f"its window of {model.context} is no larger than the one that was too small"
        if self.too_dear is not None and choice.cost_micro_usd >= self.too_dear:
            return "it costs no less than what the budget has just refused"
        return None

    def note(self, choice: Choice, outcome: Outcome) -> None:
        """Go on after a try that failed, without those who would fail in the same way."""
        failure = outcome.failure
        self.failed.append((choice, outcome))
        if failure is None:
            self.too_dear = choice.cost_micro_usd
        elif failure.kind == "key_broken" and failure.code == "no_credit":
            self.refused_keys.add(choice.model.provider)
        elif failure.kind == "callers_fault" and failure.too_long:
            self.too_small = max(self.too_small, choice.model.context)
        elif failure.kind == "callers_fault":
            self.refused_by.add(choice.model.provider)

    def broken_off(self, choice: Choice, outcome: Outcome) -> NodeFailure:
        """The failure of a stream of which something was read: nobody else can go on from there."""
        failure, model = outcome.failure, choice.model
        assert failure is not None
        said = f"{model.name} broke off after its first words were read: {failure}"
        if failure.kind == "callers_fault":
            return Fatal(said).at(model.provider, model.name)
        return Retryable(said, retry_after_seconds=failure.retry_after_s).at(model.provider, model.name)

    def end(self, decision: Decision, health: Health, now_s: float) -> NodeFailure:
        """The failure of a request nobody has answered: it speaks of the models, or of the budget, and of who asked only where
        all have refused the request itself."""
        budget = self.request.budget
        spent = budget is not None and budget.tightness() == "exhausted"
        failure = self._end(decision, health, now_s)
        refused = bool(self.failed) and all(
            outcome.failure is not None and outcome.failure.kind == "callers_fault" for _, outcome in self.failed
        )
        if not refused:
            failure.fault = failure.fault or ("budget" if spent and not self.failed else "models")
        return failure

    def _end(self, decision: Decision, health: Health, now_s: float) -> NodeFailure:
        left_out = [*decision.left_out, *self.late]
        waits = [each.again_in_s for each in left_out if each.again_in_s is not None]
        if not self.failed:
            return self._nobody(decision, left_out, waits)
        said = [(choice.model.name, str(outcome.failure or outcome.over_budget)) for choice, outcome in self.failed]
        message = all_failed(decision.profile, said, left_out)
        last = self.failed[-1][0].model
        kinds = {None if outcome.failure is None else outcome.failure.kind for _, outcome in self.failed}
        if waits or kinds & {"try_next", "cool_down"}:
            wait = _wait(decision, health, now_s, waits)
            return Retryable(message, retry_after_seconds=wait).at(last.provider, last.name)
        refusals = [outcome.over_budget for _, outcome in self.failed if outcome.over_budget is not None]
        if refusals:
            held = any(refusal.held for refusal in refusals)
            return OverBudget(message, refusals[-1].scope, held=held).at(last.provider, last.name)
        return Fatal(message).at(last.provider, last.name)

    def _nobody(self, decision: Decision, left_out: list[LeftOut], waits: list[float]) -> NodeFailure:
        """Nobody could be asked: that too is in the books, with everybody's reason."""
        message = nothing_fits(decision.profile, left_out, waits)
        self.attempts.append(
            ModelAttempt(
                provider="",
                model="",
                outcome="unavailable" if waits else "no_model",
                error=message,
                reasoning=decision.reasoning,
                candidates=tuple(decision.candidates()),
            )
        )
        ended: NodeFailure = Retryable(message, retry_after_seconds=min(waits)) if waits else Fatal(message)
        ended.reached = False
        return ended


def _wait(decision: Decision, health: Health, now_s: float, waits: list[float]) -> float | None:
    """Seconds until some model of the chain may be asked; None when one may be asked at once."""
    for choice in decision.chain:
        refusal = health.refusal(choice.model, now_s)
        if refusal is None:
            return None
        if refusal.again_in_s is not None:
            waits = [*waits, refusal.again_in_s]
    return min(waits) if waits else None
