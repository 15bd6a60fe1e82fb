"""Runs the ledger: one life of its Faust app after another, until it is stopped or something fails for good.

A member that was frozen finds itself shut out at its next commit and begins anew; what it had counted meanwhile counts nowhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from streams.ledger.app import LedgerSettings
from streams.ledger.fold import Total
from streams.ledger.session import FaustStopped, Session, Stalled
from streams.runtime import Fenced, Publisher, RuntimeFailed
from streams.runtime.closing import came
from streams.runtime.patience import BROKER_S

_log = logging.getLogger(__name__)

PAUSE_S = 0.5
"""Before the group is joined again after another has taken over."""


class Ledger:
    """`await run()` until `stop()`."""

    def __init__(self, settings: LedgerSettings, publisher: Publisher) -> None:
        self._settings = settings
        self._publisher = publisher
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._session: Session | None = None

    async def run(self) -> None:
        """Returns after `stop`; raises what ended it. Every beginning is a fresh app, which restores its tables."""
        self._running = True
        clock = asyncio.get_running_loop()
        well_at = clock.time()
        try:
            while not self._stopping.is_set():
                self._session = Session(self._settings, self._publisher, self._ready)
                try:
                    await self._session.run(self._stopping)
                except (Fenced, Stalled) as reason:
                    _log.warning("beginning anew: %s", reason)
                except FaustStopped as reason:
                    if self._session.was_ready:
                        well_at = clock.time()
                    if clock.time() - well_at > BROKER_S or not reason.of_brokers:
                        raise
                    _log.warning("beginning anew: %s", reason)
                await asyncio.sleep(PAUSE_S)
        finally:
            self._ended.set()

    async def ready(self) -> None:
        """Returns once the tables were restored, if a rebalance has them again or not. Raises when `run` has ended instead."""
        if not await came(self._ready, unless=self._ended):
            raise RuntimeFailed(f"{self._settings.group} ended before it was ready: its run() says why")

    async def stop(self) -> None:
        """Commit what was counted and leave; returns when `run` has ended."""
        self._stopping.set()
        if self._running:
            await self._ended.wait()

    def totals(self, table: str) -> Iterable[Total]:
        """The rows of a table as they are in memory, of the partitions this worker counts."""
        return self._session.totals(table) if self._session is not None else ()

    def owned(self) -> frozenset[int]:
        """The partition numbers this worker counts."""
        return frozenset(self._session.counter.open) if self._session is not None else frozenset()
