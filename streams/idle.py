"""Which conversations of a partition have been idle for their time to live. Eight bytes for each; state is not changed here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from heapq import heappop, heappush

log = logging.getLogger(__name__)

SLICE = 500
"""Conversations looked at in one go, so that a million that come due at once keep nobody waiting."""
PAUSE_S = 0.01
LEAST_WIDTH_MS = 50
MOST_WIDTH_MS = 3_600_000


class IdleConversations:
    """`look(conversation_id)` is called when one may have come due; it says when to look again, in ms, or None: it is gone.

    Each conversation is added once, when it comes into being or is restored, and stays here until `look` says None. Times are
    rounded up to a 64th of the time to live, at most an hour.
    """

    def __init__(self, look: Callable[[str], int | None], clock_ms: Callable[[], int], ttl_ms: int) -> None:
        self._look = look
        self._clock_ms = clock_ms
        self._width = min(max(ttl_ms // 64, LEAST_WIDTH_MS), MOST_WIDTH_MS)
        self._buckets: dict[int, list[str]] = {}
        """By the number of the width of time in which they come due."""
        self._order: list[int] = []
        self._wakeup: asyncio.TimerHandle | None = None

    def add(self, conversation_id: str, due_ms: int) -> None:
        number = due_ms // self._width
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.append(conversation_id)
            return
        self._buckets[number] = [conversation_id]
        heappush(self._order, number)
        if self._order[0] == number:
            self._schedule()

    def close(self) -> None:
        self._buckets.clear()
        self._order.clear()
        self._schedule()

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def _schedule(self, at_least_s: float = 0.0) -> None:
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if self._order:
            due_s = ((self._order[0] + 1) * self._width - self._clock_ms()) / 1000
            self._wakeup = asyncio.get_running_loop().call_later(max(at_least_s, due_s), self._ring)

    def _ring(self) -> None:
        now, left = self._clock_ms(), SLICE
        while left and self._order and (self._order[0] + 1) * self._width <= now:
            bucket = self._buckets[self._order[0]]
            while left and bucket:
                left -= 1
                conversation_id = bucket.pop()
                try:
                    again_ms = self._look(conversation_id)
                except Exception:  # what a state says that nobody of us wrote: the others must still come due
                    log.exception(
                        "whether conversation %.300r is idle cannot be told, and is not looked at again", conversation_id
                    )
                    continue
                if again_ms is not None:
                    self.add(conversation_id, max(again_ms, now + self._width))
            if not bucket:
                del self._buckets[heappop(self._order)]
        self._schedule(PAUSE_S)
