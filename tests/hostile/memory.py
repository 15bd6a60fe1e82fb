"""What the processes of a fleet hold, sampled once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.chaos.fleet import Fleet

MIB = 1024 * 1024
SETTLED_S = 60.0
"""A process that is younger than this still grows for good reasons."""


@dataclass
class Held:
    """One process over its life: (seconds of life, MiB)."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    @property
    def most(self) -> float:
        return max((mib for _, mib in self.samples), default=0.0)

    @property
    def slope(self) -> float | None:
        """MiB a minute, by least squares over what came after the first minute; None for a life too short to say."""
        points = [(at / 60, mib) for at, mib in self.samples if at > SETTLED_S]
        if len(points) < 60:
            return None
        mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


@dataclass
class Memory:
    fleet: Fleet
    held: dict[tuple[str, int], Held] = field(default_factory=dict)
    """(worker and part, pid) → its life."""

    async def watch(self) -> None:
        """For ever."""
        while True:
            for worker in self.fleet.workers:
                if worker.process is not None and worker.process.returncode is None:
                    with suppress(psutil.Error):
                        main = psutil.Process(worker.process.pid)
                        self._note(worker.name, main)
                        for child in main.children(recursive=True):
                            self._note(f"{worker.name} child", child)
            await asyncio.sleep(1)

    def _note(self, name: str, process: psutil.Process) -> None:
        with suppress(psutil.Error):
            life = self.held.setdefault((name, process.pid), Held())
            life.samples.append((time.time() - process.create_time(), process.memory_info().rss / MIB))

    def most(self) -> Mapping[str, float]:
        """Worker → the most MiB that any of its processes held."""
        found: dict[str, float] = {}
        for (name, _), life in self.held.items():
            found[name] = round(max(found.get(name, 0.0), life.most), 1)
        return found

    def slopes(self) -> Mapping[str, float]:
        """Worker → MiB a minute of its longest life, where one was long enough to say."""
        longest: dict[str, Held] = {}
        for (name, _), life in self.held.items():
            if len(life.samples) > len(longest.get(name, Held()).samples):
                longest[name] = life
        return {name: round(slope, 2) for name, life in longest.items() if (slope := life.slope) is not None}
