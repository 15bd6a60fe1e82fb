"""What is done to a fleet while it works, one loop for each kind of fault. Each returns when the fault happened."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.fleet import Fleet, Worker
from tests.chaos.oracle import Oracle

SESSION_S = 4.5
ENGINE = ("intake", "conversations", "nodes")


@dataclass
class Happened:
    """The faults of one kind, with their recovery times as far as they can be told."""

    name: str
    count: int = 0
    first_s: list[float] = field(default_factory=list)
    all_s: list[float] = field(default_factory=list)

    def note(self, recovery: tuple[float, float] | None) -> None:
        self.count += 1
        if recovery is not None:
            self.first_s.append(recovery[0])
            self.all_s.append(recovery[1])


@dataclass
class Chaos:
    fleet: Fleet
    oracle: Oracle
    random: random.Random
    report: Callable[[str], None]

    async def kills(self, count: int, *, pause_s: tuple[float, float] = (0.5, 3.0)) -> list[Happened]:
        """kill -9 of a random worker, again and again; the supervisor starts it anew at once."""
        happened = {worker.kind: Happened(f"kill -9 {worker.kind}") for worker in self.fleet.workers}
        for number in range(count):
            victim = await self._one_alive()
            self.fleet.kill(victim)
            happened[victim.kind].note(None)
            if number % 10 == 9:
                await self._breathe()
                self.report(f"{number + 1} of {count} kills, {len(self.oracle.open)} messages open")
            await asyncio.sleep(self.random.uniform(*pause_s))
        return list(happened.values())

    async def takeovers(self, kind: str, count: int, *, hold_s: float | None) -> Happened:
        """kill -9 of one worker of a kind, and how long its partitions stood still.

        `hold_s`: it stays away that long, so that another one has to take over; None: it is started again at once.
        """
        happened = Happened(f"{kind}: {'takeover by another' if hold_s else 'the same one restarted'}")
        for _ in range(count):
            await self._settled()
            victim = self.random.choice([worker for worker in self.fleet.workers if worker.kind == kind])
            at = time.monotonic()
            self.fleet.kill(victim, hold_s=hold_s or 0.0)
            await asyncio.sleep(4.0)
            await self.oracle.answered(60)
            happened.note(self.oracle.recovery(at, time.monotonic()))
        return happened

    async def freezes(self, count: int, *, session_s: float = SESSION_S) -> Happened:
        """SIGSTOP until the group has given its partitions away, then SIGCONT: a zombie that believes it still owns them."""
        happened = Happened("SIGSTOP past the session, SIGCONT")
        for _ in range(count):
            await self._settled()
            victim = await self._one_alive(ENGINE)
            at = time.monotonic()
            victim.signal(signal.SIGSTOP)
            await asyncio.sleep(session_s + 3.0)
            victim.signal(signal.SIGCONT)
            await self.oracle.answered(60)
            happened.note(self.oracle.recovery(at, time.monotonic()))
        return happened

    async def broker_restarts(self, count: int) -> Happened:
        """The broker goes and comes back with its data: stopped in order, then killed, in turns."""
        happened = Happened("broker restart")
        for number in range(count):
            await self._settled()
            at = time.monotonic()
            await self.fleet.kafka.restart(kill=number % 2 == 1)
            await asyncio.sleep(3.0)
            await self.oracle.answered(120)
            happened.note(self.oracle.recovery(at, time.monotonic()))
        return happened

    async def postgres_restarts(self, count: int) -> Happened:
        happened = Happened("Postgres restart")
        for number in range(count):
            await self._settled()
            at = time.monotonic()
            await self.fleet.postgres.restart(kill=number % 2 == 1)
            await asyncio.sleep(3.0)
            await self.oracle.answered(120)
            happened.note(self.oracle.recovery(at, time.monotonic()))
        return happened

    async def rolling_restart(self) -> Happened:
        """Every worker in turn: SIGTERM, and the next one once its successor is ready."""
        happened = Happened("rolling restart")
        for worker in self.fleet.workers:
            at, starts = time.monotonic(), worker.starts
            worker.signal(signal.SIGTERM)
            while worker.starts == starts:
                await asyncio.sleep(0.05)
            await self.fleet.ready(worker)
            happened.note(self.oracle.recovery(at, time.monotonic()))
        return happened

    async def _settled(self) -> None:
        """Every worker at work and nothing left over from the fault before."""
        for worker in self.fleet.workers:
            while not worker.alive:
                await asyncio.sleep(0.05)
            await self.fleet.ready(worker)
        await self.oracle.answered(120)
        await asyncio.sleep(1.0)

    async def _breathe(self) -> None:
        """Let the open messages get answered now and then: a backlog without end would measure the machine."""
        await self.oracle.answered(120)

    async def _one_alive(self, kinds: Sequence[str] | None = None) -> Worker:
        while True:
            alive = [w for w in self.fleet.workers if w.alive and (kinds is None or w.kind in kinds)]
            if alive:
                return self.random.choice(alive)
            await asyncio.sleep(0.05)
