"""Looks at all totals once a minute, at budgets more often, and says what has changed: the health of agents, and alerts.

Every ledger worker has one; the one whose worker counts partition 0 acts. Two that act at once say the same under the same ids.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal

from schemas import topics
from schemas.base import Event
from schemas.codec import decode, encode
from schemas.events import AgentHealth, Alert, BudgetNoticed, RollupChanged
from schemas.events.ledger import HOUR_MS
from streams.definitions import Definitions, UnknownWorkflow
from streams.ledger.alerting import Notices, alerts, budgets
from streams.ledger.standing import (
    DEFAULT_BUDGET_PERMILLE,
    DEFAULT_ERROR_PERMILLE,
    EVERYTHING,
    KEPT_HOURS,
    Limits,
    Standing,
    health,
)
from streams.runtime import Outgoing, Publisher
from streams.runtime.reading import Reader, record_of
from streams.runtime.table import passed_over

log = logging.getLogger(__name__)

CHECK_EVERY_S = 60.0
BUDGETS_EVERY_S = 5.0
OURS = frozenset(("budget", "error_rate", "agent_health"))
"""Kinds of alerts that the ledger says. Others are said by workers, of themselves."""


class Overseer:
    """`await run()` until `stop()`."""

    def __init__(
        self,
        bootstrap: str,
        publisher: Publisher,
        *,
        acts: Callable[[], bool],
        limits: Callable[[], Iterable[Limits]],
        clock_ms: Callable[[], int],
        every_s: float = CHECK_EVERY_S,
        budgets_every_s: float = BUDGETS_EVERY_S,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """`acts`: whether it is this worker's turn. `names`: other names for topics."""
        self._bootstrap = bootstrap
        self._publisher = publisher
        self._acts = acts
        self._limits = limits
        self._clock_ms = clock_ms
        self._every_s = every_s
        self._tick_s = min(budgets_every_s, every_s)
        self._names = names or {}
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False

    async def run(self) -> None:
        """Returns after `stop`; raises RuntimeFailed when the broker is gone."""
        self._running = True
        watch: Watch | None = None
        clock, due_s = asyncio.get_running_loop().time, -math.inf
        try:
            while not self._stopping.is_set():
                if self._acts():
                    watch = watch or await self._opened()
                    await watch.read()
                    whole = clock() >= due_s
                    if whole:
                        due_s = clock() + self._every_s
                    await self._say(watch, whole=whole)
                elif watch is not None:
                    await watch.stop()
                    watch, due_s = None, -math.inf
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._tick_s if watch is not None else min(1.0, self._tick_s)):
                        await self._stopping.wait()
        finally:
            if watch is not None:
                await watch.stop()
            self._ended.set()

    async def ready(self) -> None:
        """It needs nothing before it begins."""

    async def stop(self) -> None:
        self._stopping.set()
        if self._running:
            await self._ended.wait()

    async def _opened(self) -> Watch:
        recent = [self._name(topic) for topic in (topics.COSTS_ROLLUPS, topics.BUDGET_NOTICES)]
        watch = Watch(self._bootstrap, [*recent, *(self._name(topic) for topic in (topics.AGENT_HEALTH, topics.ALERTS))])
        await watch.start(recent, self._clock_ms() - KEPT_HOURS * HOUR_MS)
        return watch

    async def _say(self, watch: Watch, *, whole: bool) -> None:
        """`whole`: look at everything, not at budgets alone."""
        now_ms = self._clock_ms()
        said: list[Event] = []
        if not whole:
            said += budgets(watch.standing, self._limits(), watch.alerts, now_ms, watch.notices)
            await self._publisher.send([self._outgoing(event) for event in said])
            return
        watch.forget(now_ms)
        changed = list(health(watch.standing, watch.health, now_ms))
        agents = {**watch.health, **{event.agent: event for event in changed}}
        said += [*changed, *alerts(watch.standing, self._limits(), agents.values(), watch.alerts, now_ms, watch.notices)]
        await self._publisher.send([self._outgoing(event) for event in said])

    def _outgoing(self, event: Event) -> Outgoing:
        value, headers = encode(event)
        topic = topics.AGENT_HEALTH if isinstance(event, AgentHealth) else topics.ALERTS
        return Outgoing(self._name(topic), event.key.encode(), value, headers)

    def _name(self, topic: str) -> str:
        return self._names.get(topic, topic)


class Watch:
    """What the overseer has read: rows and notices of a month, and what was said about agents and alerts."""

    def __init__(self, bootstrap: str, names: Sequence[str]) -> None:
        self.standing = Standing()
        self.health: dict[str, AgentHealth] = {}
        self.alerts: dict[str, Alert] = {}
        self.notices = Notices()
        self._reader = Reader(bootstrap, names)

    async def start(self, recent_alone: Sequence[str], since_ms: int) -> None:
        """Of the topics `recent_alone` what came since then; everything of the others."""
        await self._reader.start()
        recent = await self._reader.offsets_at(since_ms)
        self._reader.seek(
            {tp: recent[tp] if tp.topic in recent_alone else at for tp, at in (await self._reader.beginnings()).items()}
        )

    async def read(self) -> None:
        """Returns once everything that was on the topics when this was called is taken in."""
        ends = await self._reader.ends()
        while not await self._reader.reached(ends):
            for raw in await self._reader.read(timeout_ms=50):
                record = record_of(raw)
                try:
                    if record.value is not None:
                        self._take(decode(record.value, record.headers), record.key)
                except Exception as error:  # noqa: BLE001  whatever a writer put there concerns this record alone
                    log.warning("%s", passed_over(record, error))

    async def stop(self) -> None:
        await self._reader.stop()

    def forget(self, now_ms: int) -> None:
        """Drop what is older than any question asked of it."""
        self.standing.forget(now_ms)
        self.notices.forget(now_ms - KEPT_HOURS * HOUR_MS)

    def _take(self, event: Event, key: bytes | None) -> None:
        if isinstance(event, (RollupChanged, AgentHealth)) and key != event.key.encode():
            raise ValueError(f"its key is not that of what it says, {event.key[:200]!r}")
        match event:
            case RollupChanged():
                self.standing.apply(event)
            case AgentHealth():
                self.health[event.agent] = event
            case Alert() if event.kind in OURS:
                self.alerts[event.name] = event
            case BudgetNoticed():
                self.notices.take(event)


def limits_of(definitions: Definitions) -> list[Limits]:
    """Of each published workflow, as its newest version that is not deprecated has them."""
    found = []
    for name in sorted({workflow.published.name for workflow in definitions.list()}):
        with suppress(UnknownWorkflow):
            definition = definitions.resolve(name).definition
            costs, monitoring = definition.cost_controls, definition.monitoring
            found.append(
                Limits(
                    name,
                    _micro(costs.daily_budget),
                    _micro(costs.monthly_budget),
                    _permille(costs.alert_threshold, DEFAULT_BUDGET_PERMILLE),
                    _permille(monitoring.alert_on_error_rate, DEFAULT_ERROR_PERMILLE),
                )
            )
    return found


def limits_of_all(daily: Decimal | None, monthly: Decimal | None) -> list[Limits]:
    """What all workflows together may spend, in US dollars."""
    return [] if daily is None and monthly is None else [Limits(EVERYTHING, _micro(daily), _micro(monthly))]


def _micro(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars.scaleb(6).to_integral_value())


def _permille(share: float | None, default: int) -> int:
    return default if share is None else round(share * 1000)
