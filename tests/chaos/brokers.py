"""What is done to three brokers while the fleet works: eight kinds of faults, each measured beside a stock client."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.fleet import Exit, Fleet, Worker
from tests.chaos.stock import Flow, Stock
from tests.support.cluster import Cluster

TOPIC = "customer.messages"
WORKERS = {"intake": 1, "conversations": 1, "nodes": 2, "ledger": 1, "projector": 1}
PARTITIONS = 6
CLEAR_S = 240.0
"""How long a fault may leave a message unanswered before the round is given up."""


@dataclass(frozen=True)
class Round:
    """One fault and what it did."""

    kind: str
    victims: str
    flow: Flow
    ended: list[Exit]
    unread: list[int]
    """Partitions on which a message was still unanswered when patience ran out."""
    excused: bool
    """More than one broker was gone: processes may end."""

    @property
    def good(self) -> bool:
        return not self.unread and (self.excused or not self.ended)

    def record(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "victims": self.victims,
            **{name: round(value, 2) for name, value in asdict(self.flow).items()},
            "ended": [f"{each.worker} with {each.code}: {each.words}" for each in self.ended],
            "unread": self.unread,
        }


@dataclass
class Faults:
    """Does things to the brokers of a fleet. `report` is told what was done, and what came of it."""

    fleet: Fleet
    oracle: Stock
    random: random.Random
    report: Callable[[str], None]
    steady_s: float = 4.0
    """Load without a fault before each one."""
    rounds: list[Round] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        assert self.fleet.cluster is not None
        return self.fleet.cluster

    async def round(self, kind: str, seconds: float | None = None) -> Round:
        """One fault of a kind, from a quiet state to the next quiet state. `seconds`: instead of those of the kind."""
        await self._settled()
        await asyncio.sleep(self.steady_s)
        number = len(self.rounds)
        began = time.monotonic()
        fault, usual = KINDS[kind]
        victims = await fault(self, number, usual if seconds is None else seconds)
        clear = await self.oracle.caught_up(CLEAR_S)
        unread = [] if clear else sorted({message.partition for message in self.oracle.open})
        ended = time.monotonic()
        exits = [each for each in self.fleet.exits if each.at >= began]
        done = Round(kind, victims, self.oracle.flow(began, ended), exits, unread, kind in ("two", "all"))
        self.rounds.append(done)
        flow = done.flow
        self.report(
            f"{kind} ({victims}): silence {flow.silence_s:.1f} s, stock {flow.stock_s:.1f} s, again {flow.again_s:.1f} s later, "
            f"clear {flow.clear_s:.1f} s, {len(exits)} ended{f', UNREAD {unread}' if unread else ''}"
        )
        for each in exits:
            self.report(f"  {each.worker} ended with {each.code} after {each.at - began:.1f} s: {each.words[:300]}")
        return done

    async def nothing(self, _: int, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return f"nothing for {seconds:g} s"

    async def leader(self, number: int, seconds: float) -> str:
        victim = await self.cluster.leader(TOPIC, number % self.oracle.partitions)
        return await self._away(seconds, victim)

    async def controller(self, _: int, seconds: float) -> str:
        return await self._away(seconds, await self.cluster.controller())

    async def two(self, _: int, seconds: float) -> str:
        return await self._away(seconds, *self.random.sample(sorted(self.cluster.brokers), 2))

    async def all(self, _: int, seconds: float) -> str:
        return await self._away(seconds, *self.cluster.brokers)

    async def freeze(self, number: int, seconds: float) -> str:
        victim = await self.cluster.leader(TOPIC, number % self.oracle.partitions)
        self.cluster.freeze(victim)
        await asyncio.sleep(seconds)
        self.cluster.thaw(victim)
        return f"broker {victim} for {seconds:g} s"

    async def roll(self, _: int, __: float) -> str:
        await self.cluster.roll()
        return "each in turn"

    async def move(self, _: int, seconds: float) -> str:
        moved = len(await self.cluster.move_leaders())
        await asyncio.sleep(seconds)
        return f"{moved + len(await self.cluster.move_leaders())} leaders in two steps"

    async def starts(self, kind: str, count: int, broken: str = "") -> list[str]:
        """Start a worker `count` times, one after the other; what went unread, in words. `broken`: kill, freeze or neither.

        While a broker is frozen or dead so are the leaders it had, for some seconds: a start may take as long.
        """
        unread, victim = [], 0
        for number in range(count):
            if broken and number % 5 == 0:  # five starts while one broker is away; it comes back, and the next one goes
                await self._heal(victim)
                await self._settled()
                victim = await self.cluster.leader(TOPIC, number // 5 % self.oracle.partitions)
                self.cluster.freeze(victim) if broken == "freeze" else await self.cluster.kill(victim)
            worker = self.random.choice(self.fleet.of(kind))
            await self._anew(worker)
            missing = await self._unanswered(self.oracle.burst(1))
            if missing:
                unread.append(f"{worker.name}, start {number}: partitions {missing} unread")
                self.report(unread[-1])
        await self._heal(victim)
        return unread

    async def _heal(self, victim: int) -> None:
        if victim and self.cluster.brokers[victim].frozen:
            self.cluster.thaw(victim)
        elif victim:
            await self.cluster.start(victim)

    async def _anew(self, worker: Worker) -> None:
        """End a worker gently and wait until its successor says that it is ready."""
        starts = worker.starts
        worker.signal(signal.SIGTERM)
        while worker.starts == starts:
            await asyncio.sleep(0.05)
        await self.fleet.ready(worker)

    async def _unanswered(self, keys: list[str], patience_s: float = 60.0) -> list[int]:
        deadline = time.monotonic() + patience_s
        while missing := [self.oracle.sent[key].partition for key in keys if self.oracle.sent[key].answered is None]:
            if time.monotonic() > deadline:
                return sorted(missing)
            await asyncio.sleep(0.05)
        return []

    async def _away(self, seconds: float, *victims: int) -> str:
        await self.cluster.kill(*victims)
        await asyncio.sleep(seconds)
        await self.cluster.start(*victims)
        return f"broker {' and '.join(map(str, victims))} for {seconds:g} s"

    async def _settled(self) -> None:
        """All brokers in sync, all workers at work, nothing left over from the fault before."""
        await self.cluster.settled()
        for worker in self.fleet.workers:
            while not worker.alive:
                await asyncio.sleep(0.05)
            await self.fleet.ready(worker)
        await self.oracle.caught_up(CLEAR_S)


KINDS: dict[str, tuple[Callable[[Faults, int, float], Coroutine[Any, Any, str]], float]] = {
    "none": (Faults.nothing, 20.0),
    "leader": (Faults.leader, 10.0),
    "controller": (Faults.controller, 10.0),
    "two": (Faults.two, 20.0),
    "all": (Faults.all, 15.0),
    "freeze20": (Faults.freeze, 20.0),
    "freeze45": (Faults.freeze, 45.0),
    "roll": (Faults.roll, 0.0),
    "move": (Faults.move, 3.0),
}
"""Kill a leader, the controller's node, two brokers, all; freeze one; restart each in turn; give all partitions new leaders.
With each kind its seconds: how long they are away, or between two steps."""
ROUNDS = {"none": 1, "leader": 5, "controller": 5, "two": 3, "all": 3, "freeze20": 4, "freeze45": 3, "roll": 3, "move": 4}
"""How many of each make the 30 faults of the whole round, after a look at what no fault does."""
