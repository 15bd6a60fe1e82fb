"""The decision which model answers a call. Pure: everything it depends on is an argument, time included.

Every model that may not answer is left out with its reason in words; the others are tried best first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from agents.ports import Usage
from agents.router.budget import Tightness
from agents.router.models import Model
from agents.router.profiles import Profile
from agents.router.request import Constraints, Facts, dollars
from agents.router.scoring import normalised, score

WINDOW_SHARE_PERCENT = 80
"""Of a context window, what input and reserved output may fill: an estimate is an estimate."""

Role = Literal["primary", "fallback"]


class Unavailable(NamedTuple):
    """Why a model may not be asked just now."""

    reason: str
    again_in_s: float | None = None
    """When it may be worth asking again; None: not before a person does something."""


class Current(NamedTuple):
    """The model a conversation is on, and how much of this request its provider still holds in its cache."""

    model: str
    cached_text_tokens: int


@dataclass(frozen=True, slots=True)
class State:
    """What is known of the models at the time of the decision."""

    input_text_tokens: Mapping[str, int]
    """By model name: this request, counted for it."""
    latency_ms: Mapping[str, int]
    """By model name: what a call is expected to take."""
    unavailable: Mapping[str, Unavailable] = field(default_factory=dict)
    """By model name: breaker, cool-down, key, provider. Only those that may not be asked."""
    current: Current | None = None
    tightness: Tightness = "ok"


class Choice(NamedTuple):
    """A model that may answer, with what it is expected to cost and take."""

    model: Model
    role: Role
    score: float
    estimated: Usage
    cost_micro_usd: int
    latency_ms: int


class LeftOut(NamedTuple):
    model: str
    reason: str
    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    profile: str
    chain: tuple[Choice, ...]
    """Whom to ask, in this order. Empty: nobody."""
    left_out: tuple[LeftOut, ...]
    reasoning: str
    max_cost_micro_usd: int
    """The limit that was applied."""

    @property
    def chosen(self) -> Choice | None:
        return self.chain[0] if self.chain else None

    @property
    def runner_up(self) -> Choice | None:
        return self.chain[1] if len(self.chain) > 1 else None

    def again_in_s(self) -> float | None:
        """The soonest time a model left out only for now may be asked again."""
        waits = [each.again_in_s for each in self.left_out if each.again_in_s is not None]
        return min(waits) if waits else None

    def candidates(self) -> list[dict[str, Any]]:
        """Every model considered, JSON-able: {model, score} or {model, left_out}."""
        kept: list[dict[str, Any]] = [{"model": each[0].name, "score": round(each[2], 4)} for each in self.chain]
        return kept + [{"model": each.model, "left_out": each.reason} for each in self.left_out]


def route(facts: Facts, candidates: Mapping[str, Model], state: State, profile: Profile, constraints: Constraints) -> Decision:
    """Choose among the profile's models. `candidates` are the models there are, by name."""
    rules = _Rules(facts, state, profile, constraints)
    primaries: list[Choice] = []
    fallbacks: list[Choice] = []
    left_out: list[LeftOut] = []
    for name in profile.primary:
        found = rules.consider(name, candidates.get(name), "primary")
        if isinstance(found, Choice):
            primaries.append(found)
        elif name not in profile.fallback:  # one that stands in both lists has a second chance below
            left_out.append(found)
    taken = {choice.model.name for choice in primaries}
    for name in profile.fallback:
        if name in taken:
            continue
        found = rules.consider(name, candidates.get(name), "fallback")
        if isinstance(found, Choice):
            fallbacks.append(found)
        else:
            left_out.append(found)
    ranked = _ranked(primaries, fallbacks, rules.max_latency_ms, tight=state.tightness != "ok")
    chain, stays = _stay(ranked, state.current)
    return Decision(profile.name, chain, tuple(left_out), _words(chain, profile, stays, state), rules.max_cost_micro_usd)


class _Rules:
    """The filters, in their order, with what they need prepared once for all candidates."""

    __slots__ = ("_facts", "_state", "_usages", "_weights", "max_cost_micro_usd", "max_latency_ms")

    def __init__(self, facts: Facts, state: State, profile: Profile, constraints: Constraints) -> None:
        self._facts, self._state = facts, state
        self.max_cost_micro_usd = _tighter(profile.max_cost_micro_usd, constraints.max_cost_micro_usd)
        self.max_latency_ms = _tighter(profile.max_latency_ms, constraints.max_latency_ms)
        self._weights = normalised(profile.weights)
        self._usages: dict[tuple[int, int], Usage] = {}

    def consider(self, name: str, model: Model | None, role: Role) -> Choice | LeftOut:
        if model is None:
            unpriced = self._state.unavailable.get(name)
            return LeftOut(name, "the catalogue has no such model" if unpriced is None else unpriced.reason)
        facts, state = self._facts, self._state
        if not facts.needs <= model.capabilities:
            return LeftOut(name, f"cannot do {', '.join(sorted(facts.needs - model.capabilities))}")
        if facts.supported_models and name not in facts.supported_models and model.wire not in facts.supported_models:
            return LeftOut(name, f"the agent supports {', '.join(facts.supported_models)} alone")
        asked = state.input_text_tokens[name]
        reserved = facts.reserved_output if model.max_output is None else min(facts.reserved_output, model.max_output)
        if (asked + reserved) * 100 > model.context * WINDOW_SHARE_PERCENT:
            return LeftOut(
                name,
                f"{asked} text tokens and {reserved} reserved for the answer are over {WINDOW_SHARE_PERCENT} % of its window "
                f"of {model.context}",
            )
        expected = facts.expected_output if facts.expected_output < reserved else reserved
        estimated = self._usage(name, asked, expected)
        cost = model.rates.cost(asked, expected, estimated.cached_text_tokens)
        if cost > self.max_cost_micro_usd:
            return LeftOut(name, f"about {dollars(cost)} is over the limit of {dollars(self.max_cost_micro_usd)} a call")
        latency = state.latency_ms[name]
        if latency > self.max_latency_ms and role == "primary":
            return LeftOut(name, f"about {latency} ms is over the limit of {self.max_latency_ms} ms")
        if state.unavailable and (why := state.unavailable.get(name)) is not None:
            return LeftOut(name, why.reason, why.again_in_s)
        if cost and state.tightness == "exhausted":
            return LeftOut(name, f"the budget is spent, and it costs about {dollars(cost)}")
        return Choice(model, role, score(self._weights, latency, cost, model.quality), estimated, cost, latency)

    def _usage(self, name: str, asked: int, answered: int) -> Usage:
        """One value for all models that count alike."""
        current = self._state.current
        if current is not None and current.model == name:
            return Usage(asked, min(current.cached_text_tokens, asked), 0, answered)
        found = self._usages.get((asked, answered))
        if found is None:
            found = self._usages[asked, answered] = Usage(asked, 0, 0, answered)
        return found


def _tighter(limit: int, other: int | None) -> int:
    return limit if other is None else min(limit, other)


_SCORE = attrgetter("score")
_COST = attrgetter("cost_micro_usd")


def _ranked(primaries: list[Choice], fallbacks: list[Choice], max_latency_ms: int, *, tight: bool) -> list[Choice]:
    """Best first, primaries before fallbacks, quick fallbacks before slow ones; the cheapest first when the budget is tight.

    Of equals the one that its profile names first.
    """
    primaries.sort(key=_SCORE, reverse=True)
    fallbacks.sort(key=_SCORE, reverse=True)
    quick = [each for each in fallbacks if each.latency_ms <= max_latency_ms]
    ranked = primaries + quick
    if len(quick) < len(fallbacks):
        ranked += [each for each in fallbacks if each.latency_ms > max_latency_ms]
    return sorted(ranked, key=_COST) if tight else ranked


def _stay(chain: list[Choice], current: Current | None) -> tuple[tuple[Choice, ...], bool]:
    """The conversation's own model goes first while it is cheaper than the best one, cached prefix counted."""
    if current is None or not current.cached_text_tokens or not chain or chain[0].model.name == current.model:
        return tuple(chain), False
    own = next((each for each in chain if each.model.name == current.model), None)
    if own is None or own.cost_micro_usd >= chain[0].cost_micro_usd:
        return tuple(chain), False
    return (own, *(each for each in chain if each is not own)), True


def _words(chain: tuple[Choice, ...], profile: Profile, stays: bool, state: State) -> str:
    if not chain:
        return f"no model of the profile {profile.name} can take this call"
    first = chain[0]
    of = len(chain)
    words = (
        f"{first.model.name} ({first.role} of {profile.name}): score {first.score:.3f}, about {dollars(first.cost_micro_usd)} "
        f"and {first.latency_ms} ms"
    )
    if stays:
        assert state.current is not None
        words += (
            f"; the conversation stays on it: with {state.current.cached_text_tokens} text tokens in its cache it is "
            f"cheaper than {chain[1].model.name} at about {dollars(chain[1].cost_micro_usd)}"
        )
    elif state.tightness != "ok":
        words += f"; the budget is {'nearly' if state.tightness == 'alert' else 'all'} spent, so the cheapest goes first"
    elif of > 1:
        words += f"; the best of {of}, before {chain[1].model.name} with {chain[1].score:.3f}"
    else:
        words += "; the only one that can take it"
    return words
