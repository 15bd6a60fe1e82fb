"""How far restoring has come, in words for whoever waits for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sized

EVERY_S = 1.0
"""At most one line in that time, and none about what takes less."""

Report = Callable[[str], None]


class RestoreProgress:
    """Told by every partition that is being restored; reports about all of them in one line."""

    def __init__(self, name: str, report: Report, clock: Callable[[], float]) -> None:
        self._name = name
        self._report = report
        self._clock = clock
        self._read: dict[Hashable, tuple[int, int, Sized]] = {}
        """Partition → changelog offsets read, of how many, into which states."""
        self._open: set[Hashable] = set()
        self._began = self._next = -math.inf
        self._reported = False

    def begins(self, partition: Hashable) -> None:
        if not self._open:
            self._read.clear()
            self._began, self._reported = self._clock(), False
            self._next = self._began + EVERY_S
        self._open.add(partition)

    def told(self, partition: Hashable, states: Sized, read: int, total: int) -> None:
        self._read[partition] = (read, total, states)
        now = self._clock()
        if now < self._next:
            return
        self._next, self._reported = now + EVERY_S, True
        done, whole, held = self._sums()
        share = 100 * done // whole if whole else 100
        count = f"{len(self._open)} partition{'s' * (len(self._open) > 1)}"
        self._report(f"{self._name}: restoring {count}: {share} % of {whole:,} changelog offsets read, {held:,} states")

    def ended(self, partition: Hashable) -> None:
        """Restored, or given up: nothing more will be told of it."""
        self._open.discard(partition)
        if self._reported and not self._open:
            _, _, held = self._sums()
            self._report(f"{self._name}: restored {held:,} states in {self._clock() - self._began:.1f} s")

    def _sums(self) -> tuple[int, int, int]:
        return (
            sum(read for read, _, _ in self._read.values()),
            sum(total for _, total, _ in self._read.values()),
            sum(len(states) for _, _, states in self._read.values()),
        )
