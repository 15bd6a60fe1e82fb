"""How long each part of something took, for a log line."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """`lap(what)` after each part; `str` has them all, in milliseconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = clock()
        self.laps: list[tuple[str, float]] = []

    def lap(self, what: str) -> None:
        now = self._clock()
        self.laps.append((what, now - self._at))
        self._at = now

    def __str__(self) -> str:
        return ", ".join(f"{what} {seconds * 1000:.0f} ms" for what, seconds in self.laps)
