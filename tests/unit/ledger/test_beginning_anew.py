"""What brokers do to Faust makes the ledger begin anew, for as long as its patience with them lasts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from streams.ledger import ledger as module
from streams.ledger.app import LedgerSettings
from streams.ledger.ledger import Ledger
from streams.ledger.session import FaustStopped
from streams.runtime import Fenced, Interrupted
from streams.runtime.patience import BROKER_S
from tests.support.at_once import at_once


def lives(monkeypatch: pytest.MonkeyPatch, *ends: Exception | None, seconds: float, well: bool) -> tuple[int, float]:
    """(how many lives, how long in s) of a ledger whose sessions end so after so many seconds each; None: when it is stopped."""
    begun = []

    class Session:
        def __init__(self, *_: Any) -> None:
            self.was_ready = well
            begun.append(self)

        async def run(self, stopping: asyncio.Event) -> None:
            await asyncio.sleep(seconds)
            end = ends[min(len(begun), len(ends)) - 1]
            if end is not None:
                raise end
            stopping.set()

    monkeypatch.setattr(module, "Session", Session)

    async def play() -> tuple[int, float]:
        publisher: Any = None
        with suppress(FaustStopped):
            await Ledger(LedgerSettings("nowhere:0"), publisher).run()
        return len(begun), asyncio.get_running_loop().time()

    return at_once(play())


def test_a_fault_of_brokers_begins_a_new_life(monkeypatch: pytest.MonkeyPatch):
    stopped = FaustStopped("Faust stopped: RequestTimedOutError()", of_brokers=True)
    assert (
        lives(monkeypatch, stopped, Interrupted("its producer is finished"), Fenced("taken"), None, seconds=1, well=True)[0] == 4
    )


def test_faults_that_follow_each_other_for_longer_than_the_patience_end_it(monkeypatch: pytest.MonkeyPatch):
    count, took_s = lives(monkeypatch, FaustStopped("Faust stopped", of_brokers=True), seconds=5, well=False)
    assert count > 5
    assert BROKER_S < took_s < BROKER_S + 10


def test_a_life_that_was_well_for_a_while_counts_for_nothing_against_it(monkeypatch: pytest.MonkeyPatch):
    stopped = FaustStopped("Faust stopped", of_brokers=True)
    assert lives(monkeypatch, stopped, stopped, stopped, None, seconds=100, well=True)[0] == 4


def test_a_defect_ends_it_at_once(monkeypatch: pytest.MonkeyPatch):
    assert lives(monkeypatch, FaustStopped("Faust stopped: TypeError()", of_brokers=False), seconds=1, well=True)[0] == 1
