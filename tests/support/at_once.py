"""A loop on which time passes at once: whoever sleeps wakes up as soon as nothing else can be done, an hour later if need be.

For code without I/O. Nothing depends on how fast the machine is, and timeouts can be told to the millisecond.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

BEGIN_S = 0.0
"""A machine that has just been started: no time is long ago."""


class _Selector(selectors.DefaultSelector):
    """Never waits: it moves the clock on instead."""

    now = BEGIN_S

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits for something that never comes")
        self.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._selected = _Selector()
        super().__init__(self._selected)

    def time(self) -> float:
        return self._selected.now


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run it on such a loop."""
    loop = _Loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
