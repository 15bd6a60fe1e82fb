"""Which models and keys may be asked now. Before a call a ticket is taken, after it the ticket says how it went."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agents.router.breakers import Breaker, BreakerRules, BreakerState, Changed, CoolDown, Listener, ModelState
from agents.router.models import Model
from agents.router.ports import ProviderFailure
from agents.router.routing import Unavailable


class Health:
    """The breakers, cool-downs and keys of one process. Synchronous: a decision and its ticket cannot be interrupted."""

    def __init__(self, rules: BreakerRules | None = None, *, on_change: Listener | None = None) -> None:
        self._rules = rules or BreakerRules()
        self._listeners: list[Listener] = [on_change] if on_change is not None else []
        self._breakers: dict[str, Breaker] = {}
        self._cooling: dict[str, CoolDown] = {}
        self._keys: dict[str, Breaker] = {}
        self._ill: set[tuple[str, str]] = set()
        """(kind, name) of every breaker that is not closed."""
        self._cool_until_s = -math.inf
        self._shown: dict[str, ModelState] = {}
        """What listeners were told of each model, unless it is closed."""

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change of state from now on."""
        self._listeners.append(listener)

    def states(self) -> dict[str, BreakerState]:
        """By model, those that were ever called."""
        return {name: breaker.state for name, breaker in self._breakers.items()}

    def shown(self) -> dict[str, ModelState]:
        """By model, as listeners were told last; those that are closed are not in it."""
        return dict(self._shown)

    def keys(self) -> dict[str, BreakerState]:
        """By provider, those whose key was ever refused."""
        return {name: key.state for name, key in self._keys.items()}

    def look(self, now_s: float) -> float | None:
        """Tell of cool-downs that are over: a model nobody calls does not find out. Seconds until the next one will be."""
        for name in [name for name, state in self._shown.items() if state == "cooling"]:
            self._show(name, now_s, "it was left alone for as long as it asked")
        waits = [self._cooling[name].until_s - now_s for name, state in self._shown.items() if state == "cooling"]
        return min(waits, default=None)

    def all_well(self, now_s: float) -> bool:
        """Whether `refusal` has nothing to say of any model."""
        return not self._ill and now_s >= self._cool_until_s

    def refusal(self, model: Model, now_s: float) -> Unavailable | None:
        """Why this model may not be asked now: the longest wait of its key, its breaker and its cool-down."""
        found: Unavailable | None = None
        key = self._keys.get(model.provider)
        if key is not None and key.state != "closed":
            found = key.refusal(now_s)
            if found is not None:
                return Unavailable(found.reason, None)
        breaker, cooling = self._breakers.get(model.name), self._cooling.get(model.name)
        if breaker is not None and breaker.state != "closed":
            found = breaker.refusal(now_s)
        if cooling is not None and cooling.until_s > now_s:
            other = cooling.refusal(now_s)
            if found is None or (other is not None and (other.again_in_s or 0) > (found.again_in_s or 0)):
                found = other
        return found

    def enter(self, model: Model, now_s: float) -> Ticket:
        """Take the ticket of a call that `refusal` has nothing against. Give it back through one of its methods."""
        if self._shown.get(model.name) == "cooling":
            self.look(now_s)
        breaker = self._breakers.get(model.name)
        if breaker is None:
            breaker = self._breakers[model.name] = Breaker(model.name, self._rules, self._tell)
        key = self._keys.get(model.provider)
        return Ticket(self, model, breaker, breaker.enter(now_s), key, key.enter(now_s) if key is not None else None)

    def _tell(self, change: Changed) -> None:
        (self._ill.discard if change.after == "closed" else self._ill.add)((change.kind, change.name))
        if change.kind == "model":
            self._show(change.name, change.at_s, change.why)
        else:
            self._say(change)

    def _show(self, name: str, now_s: float, why: str) -> None:
        """Tell listeners what a model's breaker and cool-down come to, if that has changed."""
        breaker, cooling = self._breakers.get(name), self._cooling.get(name)
        state: ModelState = "closed" if breaker is None else breaker.state
        until_s = -math.inf if breaker is None else breaker.until_s
        if cooling is not None and cooling.until_s > now_s and state != "half_open":
            state, until_s = ("cooling" if state == "closed" else state), max(until_s, cooling.until_s)
        before = self._shown.pop(name, "closed")
        if state != "closed":
            self._shown[name] = state
        if state != before:
            self._say(Changed("model", name, before, state, now_s, why, until_s))

    def _say(self, change: Changed) -> None:
        for listener in self._listeners:
            listener(change)

    def _refused_key(self, model: Model, now_s: float, why: str) -> None:
        key = self._keys.get(model.provider)
        if key is None:
            said = f"the key of {model.provider} was refused"
            key = self._keys[model.provider] = Breaker(model.provider, self._rules, self._tell, kind="key", said=said)
        key.trip(now_s, why)

    def _cool(self, model: Model, now_s: float, failure: ProviderFailure) -> None:
        cooling = self._cooling.get(model.name)
        if cooling is None:
            cooling = self._cooling[model.name] = CoolDown(self._rules)
        cooling.start(now_s, failure.retry_after_s, failure.code)
        self._cool_until_s = max(self._cool_until_s, cooling.until_s)
        self._show(model.name, now_s, failure.code)


@dataclass(slots=True)
class Ticket:
    """One call's leave to ask one model."""

    _health: Health
    _model: Model
    _breaker: Breaker
    _probe: object | None
    _key: Breaker | None
    _key_probe: object | None

    def succeeded(self, now_s: float) -> None:
        self._breaker.succeeded(now_s, self._probe)
        if self._key is not None:
            self._key.succeeded(now_s, self._key_probe)
        cooling = self._health._cooling.get(self._model.name)
        if cooling is not None:
            cooling.succeeded()

    def failed(self, failure: ProviderFailure, now_s: float) -> None:
        """Only `try_next` is breakage of the model. Whatever it said, it has accepted the key, unless it refused it."""
        if failure.kind == "try_next":
            self._breaker.failed(now_s, self._probe, failure.code)
            if failure.retry_after_s is not None:
                self._health._cool(self._model, now_s, failure)
        else:
            self._breaker.given_up(self._probe)
        if failure.kind == "cool_down":
            self._health._cool(self._model, now_s, failure)
        if failure.kind == "key_broken":
            if self._key is not None:
                self._key.given_up(self._key_probe)
            self._health._refused_key(self._model, now_s, failure.code)
        elif self._key is not None:
            if failure.kind == "try_next":  # it may not have come as far as the key
                self._key.given_up(self._key_probe)
            else:
                self._key.succeeded(now_s, self._key_probe)

    def given_up(self) -> None:
        """The call was cancelled."""
        self._breaker.given_up(self._probe)
        if self._key is not None:
            self._key.given_up(self._key_probe)
