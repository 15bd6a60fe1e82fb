"""Keeps calls away from what is broken: a breaker and a cool-down for each model, a lock for each provider's key.

Time is an argument everywhere, in seconds of one clock. Nothing here waits or calls anybody.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agents.router.routing import Unavailable

BreakerState = Literal["closed", "open", "half_open"]
ModelState = Literal["closed", "open", "half_open", "cooling"]
"""Of a breaker and a cool-down together: while both keep calls away, the breaker's."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a model counts as broken. Seconds and calls."""

    failures: int = 5
    """Failures within the window that open the breaker, if they are…"""
    share_percent: int = 25
    """…this share of the calls in it, or the latest calls without a success between them."""
    minimum_calls: int = 5
    window_s: float = 60.0
    open_s: float = 60.0
    cool_down_s: float = 10.0
    """After a 429 that does not say how long; doubles with each in a row."""
    longest_cool_down_s: float = 120.0
    key_s: float = 300.0
    """How long a refused key is left alone before one call may try it again."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A model or a key has changed its state: for metrics and for people."""

    kind: Literal["model", "key"]
    name: str
    """The model, or the provider whose key it is."""
    before: ModelState
    after: ModelState
    at_s: float
    why: str
    until_s: float = -math.inf
    """When it may be asked again, by the clock of `at_s`; at no time later than that when it may be asked now."""


Listener = Callable[[Changed], None]

MOST_WORDS = 300
"""Characters of what the last failure said."""


class Breaker:
    """Closed, open after failures, half-open after a while: then one call at a time may show whether it works again."""

    __slots__ = (
        "_buckets", "_in_a_row", "_kind", "_opened_s", "_probing", "_rules", "_said", "_tell", "name", "state", "why", "words",
    )  # fmt: skip

    def __init__(
        self, name: str, rules: BreakerRules, tell: Listener, *, kind: Literal["model", "key"] = "model", said: str = ""
    ) -> None:
        self.name, self._rules, self._tell, self._kind, self._said = name, rules, tell, kind, said
        self.state: BreakerState = "closed"
        self.why = self.words = ""
        self._buckets: deque[list[float]] = deque()  # [start, calls, failures], a tenth of the window each
        self._in_a_row = 0
        self._opened_s = -math.inf
        self._probing: object | None = None

    def refusal(self, now_s: float) -> Unavailable | None:
        """Why nobody may call now; None when a call may be made."""
        if self.state == "closed":
            return None
        wait = self._opened_s + self._open_s - now_s
        if self.state == "open" and wait > 0:
            words = f": {self.words[:MOST_WORDS]}" if self.words else ""
            return Unavailable(f"{self._said or 'its breaker is open'} ({self.why}{words}); tried again in {wait:.0f} s", wait)
        if self._probing is not None:
            return Unavailable(f"{self._said or 'its breaker is half-open'}: one call is finding out whether it works again", 1.0)
        return None

    def enter(self, now_s: float) -> object | None:
        """Before a call, when `refusal` had nothing to say. The probe's mark for the one call of a half-open breaker."""
        if self.state == "closed":
            return None
        if self.state == "open":
            self._become("half_open", now_s, "it has been left alone long enough")
        self._probing = probe = object()
        return probe

    def succeeded(self, now_s: float, probe: object | None) -> None:
        self._in_a_row = 0
        if probe is not None and probe is self._probing:
            self._probing = None
            self._buckets.clear()
            self._become("closed", now_s, "a call has succeeded")
        elif self.state == "closed":
            self._bucket(now_s)[1] += 1

    def failed(self, now_s: float, probe: object | None, why: str, words: str = "") -> None:
        """`why`: the failure's code; `words`: what the endpoint said, for people who find the breaker open."""
        self._in_a_row += 1
        self.words = words
        if probe is not None and probe is self._probing:
            self._probing = None
            self._open(now_s, why)
        elif self.state == "closed":  # calls begun before it opened say nothing new
            bucket = self._bucket(now_s)
            bucket[1] += 1
            bucket[2] += 1
            if self._broken():
                self._open(now_s, why)

    def given_up(self, probe: object | None) -> None:
        """The call ended without saying anything about the model: the next one may find out."""
        if probe is not None and probe is self._probing:
            self._probing = None

    def trip(self, now_s: float, why: str) -> None:
        """Open at once."""
        if self.state != "open":
            self._open(now_s, why)

    @property
    def until_s(self) -> float:
        """When it stops being open; before any time when it is not."""
        return self._opened_s + self._open_s if self.state == "open" else -math.inf

    @property
    def _open_s(self) -> float:
        return self._rules.open_s if self._kind == "model" else self._rules.key_s

    def _broken(self) -> bool:
        calls = sum(bucket[1] for bucket in self._buckets)
        failures = sum(bucket[2] for bucket in self._buckets)
        rules = self._rules
        if failures < rules.failures or calls < rules.minimum_calls:
            return False
        return failures * 100 >= calls * rules.share_percent or self._in_a_row >= rules.failures

    def _bucket(self, now_s: float) -> list[float]:
        width = self._rules.window_s / 10
        while self._buckets and self._buckets[0][0] <= now_s - self._rules.window_s:
            self._buckets.popleft()
        if not self._buckets or now_s >= self._buckets[-1][0] + width:
            self._buckets.append([now_s, 0, 0])
        return self._buckets[-1]

    def _open(self, now_s: float, why: str) -> None:
        self._opened_s, self.why = now_s, why
        self._probing = None
        self._buckets.clear()
        self._become("open", now_s, why)

    def _become(self, state: BreakerState, now_s: float, why: str) -> None:
        before, self.state = self.state, state
        self._tell(Changed(self._kind, self.name, before, state, now_s, why, self.until_s))


class CoolDown:
    """A model that asked for fewer requests, or is not there, is left alone for as long as it asked."""

    __slots__ = ("_in_a_row", "_rules", "until_s", "why")

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self.until_s = -math.inf
        self.why = ""
        self._in_a_row = 0

    def refusal(self, now_s: float) -> Unavailable | None:
        wait = self.until_s - now_s
        return Unavailable(f"it is left alone for {wait:.0f} s more ({self.why})", wait) if wait > 0 else None

    def start(self, now_s: float, retry_after_s: float | None, why: str) -> None:
        """From a 429. Many at once are one: the count in a row grows only when the earlier wait is over."""
        self.why = why
        if now_s >= self.until_s:
            self._in_a_row += 1
        wait = retry_after_s
        if not wait:
            wait = min(self._rules.cool_down_s * 2 ** min(self._in_a_row - 1, 10), self._rules.longest_cool_down_s)
        self.until_s = max(self.until_s, now_s + wait)

    def succeeded(self) -> None:
        self._in_a_row = 0
