"""Which models and keys may be asked now. Before a call a ticket is taken, after it the ticket says how it went."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
        self._routes: dict[str, Breaker] = {}
        """By model: its provider's key, refused for this model alone so far."""
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
        """By provider, or by provider/model where one model alone refused it: those whose key was ever refused."""
        return {key.name: key.state for key in (*self._keys.values(), *self._routes.values())}

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
        route = self._routes.get(model.name)
        if route is not None and route.state != "closed" and (found := route.refusal(now_s)) is not None:
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
        keys = [each for each in (self._keys.get(model.provider), self._routes.get(model.name)) if each is not None]
        return Ticket(self, model, breaker, breaker.enter(now_s), [(key, key.enter(now_s)) for key in keys])

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

    def _refused_key(self, model: Model, now_s: float, failure: ProviderFailure) -> None:
        """A key may be refused for one model alone. When it is for a second, or pays for nothing, no model is asked with it."""
        route = self._routes.get(model.name)
        if route is None:
            said = f"the key of {model.provider} was refused for it"
            name = f"{model.provider}/{model.name}"
            route = self._routes[model.name] = Breaker(name, self._rules, self._tell, kind="key", said=said)
        route.trip(now_s, failure.code)
        refused = sum(each.state != "closed" for each in self._routes_of(model.provider))
        if refused < 2 and failure.code != "no_credit":
            return
        key = self._keys.get(model.provider)
        if key is None:
            said = f"the key of {model.provider} was refused"
            key = self._keys[model.provider] = Breaker(model.provider, self._rules, self._tell, kind="key", said=said)
        key.trip(now_s, failure.code)

    def _routes_of(self, provider: str) -> Iterator[Breaker]:
        return (route for route in self._routes.values() if route.name.startswith(f"{provider}/"))

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
    _keys: list[tuple[Breaker, object | None]]
    """What its key was refused by before, each with the probe's mark."""

    def succeeded(self, now_s: float) -> None:
        self._breaker.succeeded(now_s, self._probe)
        for key, probe in self._keys:
            key.succeeded(now_s, probe)
        cooling = self._health._cooling.get(self._model.name)
        if cooling is not None:
            cooling.succeeded()

    def failed(self, failure: ProviderFailure, now_s: float) -> None:
        """Only `try_next` is breakage of the model. Whatever it said, it has accepted the key, unless it refused it."""
        if failure.kind == "try_next":
            self._breaker.failed(now_s, self._probe, failure.code, str(failure))
            if failure.retry_after_s is not None:
                self._health._cool(self._model, now_s, failure)
        else:
            self._breaker.given_up(self._probe)
        if failure.kind == "cool_down":
            self._health._cool(self._model, now_s, failure)
        for key, probe in self._keys:
            if failure.kind in ("key_broken", "try_next"):  # the second may not have come as far as the key
                key.given_up(probe)
            else:
                key.succeeded(now_s, probe)
        if failure.kind == "key_broken":
            self._health._refused_key(self._model, now_s, failure)

    def given_up(self) -> None:
        """The call was cancelled."""
        self._breaker.given_up(self._probe)
        for key, probe in self._keys:
            key.given_up(probe)
