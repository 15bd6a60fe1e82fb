"""Brokers that cannot be reached, as this process knows them: how soon to try again, and one line instead of thousands."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from streams.runtime.patience import BACKOFF_MOST_S, BACKOFF_S, REMIND_S

log = logging.getLogger(__name__)

Address = tuple[str, int]


@dataclass(slots=True)
class Outage:
    since: float
    again_at: float
    said_at: float
    attempts: int = 1
    why: str = ""


class Outages:
    """Shared by all clients of a process: what one has found out the others need not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Address, Outage] = {}

    def failed(self, address: Address, why: str) -> None:
        now = self._clock()
        outage = self._known.get(address)
        if outage is None:
            self._known[address] = Outage(now, now + BACKOFF_S, now, why=why)
            log.warning("the broker at %s:%d cannot be used: %s; it is tried again", *address, why)
            return
        outage.why = why
        if now >= outage.again_at:  # of several clients that fail at once the first counts
            outage.attempts += 1
            outage.again_at = now + min(BACKOFF_MOST_S, BACKOFF_S * 2 ** min(outage.attempts, 10))
        if now - outage.said_at >= REMIND_S:
            outage.said_at = now
            log.warning(
                "the broker at %s:%d has not been usable for %.0f s (%d attempts): %s",
                *address,
                now - outage.since,
                outage.attempts,
                why,
            )

    def reached(self, address: Address) -> None:
        outage = self._known.pop(address, None)
        if outage is not None:
            log.warning(
                "the broker at %s:%d is back after %.1f s (%d attempts, last: %s)",
                *address,
                self._clock() - outage.since,
                outage.attempts,
                outage.why,
            )

    def wait_s(self, address: Address) -> float:
        """How long not to try; 0 for a broker that may be tried."""
        outage = self._known.get(address)
        return 0.0 if outage is None else max(0.0, outage.again_at - self._clock())

    def __contains__(self, address: Address) -> bool:
        return address in self._known

    def why(self, address: Address) -> str | None:
        outage = self._known.get(address)
        return None if outage is None else outage.why
