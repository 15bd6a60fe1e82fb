"""Waiting for one of two events."""

from __future__ import annotations

import asyncio

import pytest

from streams.runtime.closing import came


@pytest.mark.parametrize("first", ["event", "unless"])
async def test_who_waits_hears_which_event_came_even_if_it_is_taken_back_at_once(first: str) -> None:
    """A runtime is ready, and a rebalance follows before whoever started it has heard."""
    events = {"event": asyncio.Event(), "unless": asyncio.Event()}
    waiting = asyncio.ensure_future(came(events["event"], unless=events["unless"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    events[first].set()
    events[first].clear()
    assert await waiting == (first == "event")
