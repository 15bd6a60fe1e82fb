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

    async def kills(self, count: int, kinds: Sequence[str] = ENGINE) -> list[Happened]:
        """kill -9 of one worker after the other, each as soon as the partitions of the one before are at work again.

        The supervisor starts it anew at once. In each round of kinds every worker of the kind is at work when one is killed,
        so that the time is that of a takeover; every tenth kill is the projector's, whose absence no answer waits for.
        """
        happened = {kind: Happened(f"kill -9 {kind}") for kind in (*kinds, "projector")}
        for number in range(count):
            kind = "projector" if number % 10 == 9 and self.fleet.of("projector") else kinds[number % len(kinds)]
            await self._at_work(kind)
            victim = self.random.choice(self.fleet.of(kind))
            at = time.monotonic()
            self.fleet.kill(victim)
            happened[kind].note(await self.oracle.recovered(at, self.oracle.burst()) if kind != "projector" else None)
            if number % 10 == 9:
                self.report(f"{number + 1} of {count} kills, {len(self.oracle.open)} messages open")
                await self._breathe()
        return [kind for kind in happened.values() if kind.count]

    async def takeovers(self, kind: str, count: int, *, hold_s: float | None) -> Happened:
        """kill -9 of one worker of a kind, and how long its partitions stood still.

        `hold_s`: it stays away that long, so that another one has to take over; None: it is started again at once.
        """
        happened = Happened(f"{kind}: {'takeover by another' if hold_s else 'the same one restarted'}")
        for _ in range(count):
            await self._settled()
            victim = self.random.choice(self.fleet.of(kind))
            at = time.monotonic()
            self.fleet.kill(victim, hold_s=hold_s or 0.0)
            happened.note(await self.oracle.recovered(at, self.oracle.burst()))
        return happened

    async def freezes(self, count: int, *, session_s: float = SESSION_S) -> Happened:
        """SIGSTOP until the group has given its partitions away, then SIGCONT: a zombie that believes it still owns them."""
        happened = Happened("SIGSTOP past the session, SIGCONT")
        for _ in range(count):
            await self._settled()
            victim = await self._one_alive(ENGINE)
            at = time.monotonic()
            victim.signal(signal.SIGSTOP)
            recovery = await self.oracle.recovered(at, self.oracle.burst(), patience_s=session_s + 20.0)
            await asyncio.sleep(max(0.0, at + session_s + 3.0 - time.monotonic()))
            victim.signal(signal.SIGCONT)
            await self.oracle.answered(60)
            happened.note(recovery)
        return happened

    async def broker_restarts(self, count: int) -> Happened:
        """The broker goes and comes back with its data: stopped in order, then killed, in turns."""
        happened = Happened("broker restart")
        for number in range(count):
            await self._settled()
            at = time.monotonic()
            await self.fleet.kafka.restart(kill=number % 2 == 1)
            happened.note(await self.oracle.recovered(at, self.oracle.burst(), patience_s=120.0))
            await self.oracle.answered(120)
        return happened

    async def postgres_restarts(self, count: int) -> Happened:
        happened = Happened("Postgres restart")
        for number in range(count):
            await self._settled()
            at = time.monotonic()
            await self.fleet.postgres.restart(kill=number % 2 == 1)
            happened.note(await self.oracle.recovered(at, self.oracle.burst(), patience_s=120.0))
            await self.oracle.answered(120)
        return happened

    async def rolling_restart(self) -> Happened:
        """Every worker in turn: SIGTERM, and the next one once its successor is ready."""
        happened = Happened("rolling restart")
        for worker in self.fleet.workers:
            at, starts = time.monotonic(), worker.starts
            worker.signal(signal.SIGTERM)
            keys = self.oracle.burst()
            while worker.starts == starts:
                await asyncio.sleep(0.05)
            await self.fleet.ready(worker)
            happened.note(await self.oracle.recovered(at, keys))
        return happened

    async def _settled(self) -> None:
        """Every worker at work and nothing left over from the fault before."""
        for kind in (*ENGINE, "projector"):
            await self._at_work(kind)
        await self.oracle.answered(120)

    async def _at_work(self, kind: str) -> None:
        """Every worker of a kind has its partitions restored."""
        for worker in self.fleet.of(kind):
            while not worker.alive:
                await asyncio.sleep(0.02)
            await self.fleet.ready(worker)

    async def _breathe(self) -> None:
        """Let the open messages get answered now and then: a backlog without end would measure the machine."""
        await self.oracle.answered(120)

    async def _one_alive(self, kinds: Sequence[str] | None = None) -> Worker:
        while True:
            alive = [w for w in self.fleet.workers if w.alive and (kinds is None or w.kind in kinds)]
            if alive:
                return self.random.choice(alive)
            await asyncio.sleep(0.05)
