"""Timers of one partition. They live in the state; here is only the order in which they come due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class DueTimers(Generic[T]):
    """Calls `fire(item)` once an item's time has come. One loop timer however many items wait; adding is O(log n)."""

    def __init__(self, fire: Callable[[T], None], clock_ms: Callable[[], int]) -> None:
        self._fire = fire
        self._clock_ms = clock_ms
        self._heap: list[tuple[int, int, T]] = []
        self._ties = count()
        self._wakeup: asyncio.TimerHandle | None = None

    def add(self, due_ms: int, item: T) -> None:
        heappush(self._heap, (due_ms, next(self._ties), item))
        if self._heap[0][2] is item:
            self._schedule()

    def close(self) -> None:
        self._heap.clear()
        self._schedule()

    def __len__(self) -> int:
        return len(self._heap)

    def _schedule(self) -> None:
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if self._heap:
            delay = max(0.0, (self._heap[0][0] - self._clock_ms()) / 1000)
            self._wakeup = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        now = self._clock_ms()
        while self._heap and self._heap[0][0] <= now:
            item = heappop(self._heap)[2]
            try:
                self._fire(item)
            except Exception:  # what a state says that nobody of us wrote: the others must still come due
                log.exception("a timer cannot be fired, and is passed over: %.500r", item)
        self._schedule()
