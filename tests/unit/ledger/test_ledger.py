"""Whoever starts a ledger hears once that it is ready, or that it has ended: whatever its group does meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from streams.ledger import ledger as ledgers
from streams.ledger.app import LedgerSettings
from streams.ledger.ledger import Ledger
from streams.runtime import RuntimeFailed


@pytest.fixture
def start(monkeypatch):
    """Starts a ledger whose session does as it is told."""

    def started(session) -> tuple[Ledger, asyncio.Task[None]]:
        class Session:
            def __init__(self, settings: LedgerSettings, publisher: None, ready: asyncio.Event) -> None:
                self._ready = ready

            async def run(self, stopping: asyncio.Event) -> None:
                await session(self._ready, stopping)

        monkeypatch.setattr(ledgers, "Session", Session)
        ledger = Ledger(LedgerSettings("nobody.invalid:1"), None)
        return ledger, asyncio.create_task(ledger.run())

    return started


@pytest.mark.parametrize("turns", range(4))
async def test_a_ledger_that_was_ready_when_a_rebalance_came_has_not_ended(turns, start):
    async def rebalances(ready: asyncio.Event, stopping: asyncio.Event) -> None:
        await asyncio.sleep(0)
        ready.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        ready.clear()
        await stopping.wait()

    ledger, running = start(rebalances)
    await ledger.ready()
    await ledger.stop()
    await running


async def test_a_ledger_that_ends_before_it_is_ready_says_so(start):
    async def fails(ready: asyncio.Event, stopping: asyncio.Event) -> None:
        await asyncio.sleep(0)
        raise RuntimeFailed("Faust stopped")

    ledger, running = start(fails)
    with pytest.raises(RuntimeFailed, match="ended before it was ready"):
        await ledger.ready()
    with pytest.raises(RuntimeFailed, match="Faust stopped"):
        await running
