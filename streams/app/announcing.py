"""Tells everybody what this worker has found out: a model left alone or asked again, and a budget that is nearly spent.

Told once for each change, never for each call. Of a budget the ledger makes the alert: every worker notices it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agents.router.breakers import Changed
from agents.router.health import Health
from agents.router.limits import EVERYTHING, BudgetAlert
from connectors.settings import Settings
from schemas.base import Event
from schemas.events import Alert, BudgetNoticed
from schemas.ids import derive
from streams.runtime import Publisher
from streams.wire import outgoing

SEVERITY = {"closed": "ok", "half_open": "warning", "cooling": "warning", "open": "critical"}
LOOK_AGAIN_S = 0.05
"""At least so long after a cool-down's end: a timer may be early."""


class Announcer:
    """One a node worker. Nothing here waits or raises: it is called between a model's answer and its books."""

    def __init__(self, publisher: Publisher, worker: str, process: str, clock_ms: Callable[[], int]) -> None:
        """`worker`: its name for people; `process`: a name that no other process has or had, for the ids of events."""
        self._publisher, self._worker, self._process, self._clock_ms = publisher, worker, process, clock_ms
        self._said_ms = 0
        self._ill: dict[tuple[str, str], Changed] = {}

    @contextmanager
    def hearing(self, health: Health, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
        """Tell of every change of `health`, whose clock is `clock`. At the end take back what is still said of this worker."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def hear(change: Changed) -> None:
            nonlocal timer
            self._tell(change)
            if change.after == "cooling":
                if timer is not None:
                    timer.cancel()
                timer = loop.call_later(0, look)

        def look() -> None:
            nonlocal timer
            wait = health.look(clock())
            timer = None if wait is None else loop.call_later(max(wait, 0) + LOOK_AGAIN_S, look)

        health.listen(hear)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            for change in list(self._ill.values()):
                self._tell(Changed(change.kind, change.name, change.after, "closed", change.at_s, "its worker has ended"))

    def budget(self, alert: BudgetAlert) -> None:
        """Of a budget that all workers share. A conversation's own concerns nobody else: it is in the log alone."""
        limit = alert.limit
        if limit.span == "conversation":
            return
        self._publish(
            BudgetNoticed(
                id=derive(alert.id, self._process),
                time_ms=self._clock_ms(),
                conversation_id="",
                workflow="" if limit.scope == EVERYTHING else limit.scope.removeprefix("workflow "),
                period=limit.span,
                period_start_ms=limit.starts_ms,
                level=alert.level,
                spent_micro_usd=max(0, alert.spent_micro_usd),
                limit_micro_usd=limit.micro_usd,
            )
        )

    def _tell(self, change: Changed) -> None:
        now_ms = self._said_ms = max(self._clock_ms(), self._said_ms + 1)  # so that the last of two has the later time
        if change.after == "closed":
            self._ill.pop((change.kind, change.name), None)
        else:
            self._ill[change.kind, change.name] = change
        kind = "breaker" if change.kind == "model" else "key"
        provider, _, model = ("", "", change.name) if kind == "breaker" else change.name.partition("/")
        self._publish(
            Alert(
                id=derive("alert", self._process, kind, change.name, now_ms),
                time_ms=now_ms,
                conversation_id="",
                name=f"{kind}.{change.name}@{self._worker}",
                kind=kind,
                state=SEVERITY[change.after],
                message=f"{said(change)} (worker {self._worker})",
                model=model,
                provider=provider,
                worker=self._worker,
                breaker=change.after,
                until_ms=now_ms + round((change.until_s - change.at_s) * 1000) if change.until_s > change.at_s else 0,
            )
        )

    def _publish(self, event: Event) -> None:
        out = outgoing(event)
        self._publisher.check(out)
        self._publisher.publish(out)


def said(change: Changed) -> str:
    """For people: what is, why, and for how long."""
    model = change.kind == "model"
    whose = f"the model {change.name}" if model else f"the key of {change.name}"
    wait = f" for {change.until_s - change.at_s:.0f} s" if change.until_s > change.at_s else ""
    match change.after:
        case "open":
            out = "" if model else ". See that the provider's key is valid and has credit"
            return f"{whose} is left alone{wait}: {change.why}{out}"
        case "cooling":
            return f"{whose} asked for fewer requests, or is not there ({change.why}), and is left alone{wait}"
        case "half_open":
            return f"{whose} is tried again by one call: {change.why}"
    return f"{whose} is asked as usual: {change.why}"


def worker_name(settings: Settings) -> str:
    """What people call this process."""
    return settings.instance or f"{socket.gethostname()}-{os.getpid()}"


def process_name(settings: Settings) -> str:
    """Of this process, and of no other, before or after."""
    return f"{settings.instance or socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
