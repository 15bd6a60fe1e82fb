"""Another monotonic clock for a whole test run: one of a machine that was started this moment, or one of ages ago.

The clock of Linux counts from the machine's start, so that code that takes 0 for "long ago" is right on old machines only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

MONOTONIC = time.monotonic
"""The clock of the machine, however the tests' one is set."""


@dataclass
class Clock:
    """`time.monotonic`, and with it the time of every event loop, counted from `start` seconds at each `begin`."""

    start: float
    _origin: float = 0.0

    def __call__(self) -> float:
        return MONOTONIC() - self._origin

    def nanoseconds(self) -> int:
        return round(self() * 1e9)

    def begin(self) -> None:
        """It is `start` now."""
        self._origin = MONOTONIC() - self.start

    def install(self) -> None:
        """For this process, before anything else takes the machine's clock by name."""
        self.begin()
        patched: Any = time
        patched.monotonic, patched.monotonic_ns = self, self.nanoseconds
