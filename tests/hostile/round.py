"""One round: a deployment, honest customers, a quiet time, the attack, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer

from tests.chaos.fleet import Fleet, Worker
from tests.hostile.attack import EVERY_S, Attack, attacking
from tests.hostile.endpoint import Endpoint, endpoint
from tests.hostile.honest import WORKFLOW, Customers, Outcome, outcome
from tests.hostile.memory import Memory

PARTITIONS = 4
MEMORY_MIB = 1024.0
SETTLE_S = 3.0
"""After a restarted processor is ready, until what had waited for it is answered."""
INTERNAL = ("__consumer_offsets", "__transaction_state", "__share_group_state")
"""The broker's own topics: whoever writes there has the cluster."""
EXAMPLES = 5
PATIENCE_S = 120.0
"""For the last answers: later than that is lost."""
HELD = Path(__file__).with_name("held")
"""Its sitecustomize says what held up a process."""


@dataclass(frozen=True)
class Plan:
    attack_s: float
    quiet_s: float
    rate: float
    kinds: tuple[str, ...] = tuple(EVERY_S)
    restart_every_s: float = 60.0
    memory_mib: float = MEMORY_MIB
    ratio: float = 3.0
    seed: int = 1


@dataclass
class Report:
    plan: Plan
    quiet: Outcome = field(default_factory=Outcome)
    hostile: Outcome = field(default_factory=Outcome)
    memory_mib: Mapping[str, float] = field(default_factory=dict)
    growth_mib_a_minute: Mapping[str, float] = field(default_factory=dict)
    attack: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0
    ended: list[str] = field(default_factory=list)
    """Processes that ended by themselves, and their last words."""
    broken: list[str] = field(default_factory=list)
    """Promises that did not hold, with examples."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class HostileFleet(Fleet):
    """A fleet whose model is the hostile endpoint, with the rehearsal model behind it."""

    def __init__(self, folder: Path, model: Endpoint) -> None:
        kinds = ("intake", "conversations", "nodes", "ledger", "projector")
        super().__init__(folder, dict.fromkeys(kinds, 1), {"HIL_INSTANCE": "yes", "HIL_SESSION_TIMEOUT_MS": "3000"})
        if not self.of("ledger"):
            self.workers.append(Worker("ledger", 0))
        self._model = model

    def _env(self, **more: str) -> dict[str, str]:
        given = super()._env(**more)
        self._model.behind = given["HIL_LLM_BASE_URL"]
        path = os.pathsep.join((str(HELD), given["PYTHONPATH"]))
        return {**given, "HIL_LLM_BASE_URL": self._model.url, "PYTHONPATH": path}

    async def hil(self, *arguments: str) -> tuple[int, str]:
        """Run one command to its end: (exit code, what it printed)."""
        from tests.support.system import hil

        process = await asyncio.create_subprocess_exec(
            *hil(*arguments), env=self._env(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace")


@dataclass
class Round:
    folder: Path
    plan: Plan
    say: Callable[[str], None]
    away: list[tuple[float, float]] = field(default_factory=list)

    async def run(self) -> Report:
        report, plan = Report(self.plan), self.plan
        async with AsyncExitStack() as stack:
            model = await stack.enter_async_context(endpoint())
            fleet = await stack.enter_async_context(HostileFleet(self.folder, model))
            bootstrap = fleet.kafka.address
            customers = Customers(bootstrap, plan.rate, PARTITIONS)
            stack.push_async_callback(customers.stop)
            memory = Memory(fleet)
            watching = asyncio.create_task(memory.watch())
            stack.callback(watching.cancel)
            desk = self.folder / "honest_desk.yaml"
            desk.write_text(json.dumps(WORKFLOW))
            await fleet.run("workflows", "publish", str(desk))
            attack = await stack.enter_async_context(attacking(bootstrap, await topics(bootstrap), plan.seed, plan.kinds))
            await attack.prepare()
            customers.start()
            await self._learn(customers)
            self.say(f"attacking for {plan.attack_s:.0f} s")
            customers.phase = "hostile"
            until = time.monotonic() + plan.attack_s
            await asyncio.gather(
                attack.run(until), self._restart(fleet, report, until), self._tell(customers, attack, fleet, until)
            )
            self.say("waiting for the last answers")
            await customers.finish(PATIENCE_S)
            await self._judge(report, fleet, customers, attack, memory)
        return report

    async def _learn(self, customers: Customers) -> None:
        """The first seconds are not the usual ones: everything is loaded for the first time."""
        customers.phase = "start"
        await asyncio.sleep(min(10.0, self.plan.quiet_s))
        customers.phase = "quiet"
        self.say(f"quiet for {self.plan.quiet_s:.0f} s")
        await asyncio.sleep(self.plan.quiet_s)

    async def _restart(self, fleet: Fleet, report: Report, until: float) -> None:
        """One processor after the other, killed and asked to end in turns."""
        if not self.plan.restart_every_s:
            return
        chance, number = random.Random(self.plan.seed), 0
        await asyncio.sleep(self.plan.restart_every_s / 2)
        while time.monotonic() < until:
            victim = chance.choice(fleet.workers)
            began, starts = time.monotonic(), victim.starts
            how = "kill -9" if number % 2 else "SIGTERM"
            self.say(f"{how} {victim.name}")
            if number % 2:
                fleet.kill(victim)
            else:
                victim.killed = True
                victim.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(120):
                    while victim.starts == starts:
                        await asyncio.sleep(0.05)
                    await fleet.ready(victim)
            except (TimeoutError, RuntimeError) as error:
                report.broken.append(f"{victim.name} did not come up after {how}: {str(error)[-600:]}")
            self.away.append((began, time.monotonic() + SETTLE_S))
            report.restarts += 1
            number += 1
            await asyncio.sleep(max(1.0, began + self.plan.restart_every_s - time.monotonic()))

    async def _tell(self, customers: Customers, attack: Attack, fleet: Fleet, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(min(10.0, max(0.1, until - time.monotonic())))
            exits = sum(len(worker.exits) for worker in fleet.workers)
            self.say(
                f"{len(customers.sent)} honest messages, {len(customers.open)} open; {attack.done.total()} hostile records, "
                f"{customers.dead.total()} dead letters; {exits} processes ended by themselves"
            )

    async def _judge(self, report: Report, fleet: HostileFleet, customers: Customers, attack: Attack, memory: Memory) -> None:
        sent = list(customers.sent.values())
        report.quiet = outcome([each for each in sent if each.phase == "quiet" and each.at], ())
        report.hostile = outcome([each for each in sent if each.phase == "hostile" and each.at], self.away)
        report.memory_mib, report.growth_mib_a_minute = memory.most(), memory.slopes()
        report.attack, report.refused = dict(attack.done), dict(attack.refused)
        report.dead_letters = dict(customers.dead.most_common())
        broken = report.broken
        for words, wrong in (
            ("lost", [each for each in sent if each.at and not each.ids]),
            ("answered twice", [each for each in sent if len(each.ids) > 1]),
            ("answered with a failure", [each for each in sent if each.ids and each.status != "completed"]),
        ):
            for each in wrong[:EXAMPLES]:
                self.say(f"{words}: {each}; done shortly before: {attack.around(each.at)[-20:]}")
            if wrong:
                broken.append(f"{len(wrong)} honest messages {words}, such as {wrong[0].key} ({wrong[0].error or 'no answer'})")
        self._latency(report)
        for worker in fleet.workers:
            for number, code in enumerate(worker.exits):
                report.ended.append(f"{worker.name} ended with {getattr(code, 'code', code)}")
                if number < EXAMPLES:
                    broken.append(f"{report.ended[-1]} by itself")
        if report.ended:
            self.say(fleet.tails())
        broken += [
            f"{name} held {mib:.0f} MiB, more than {self.plan.memory_mib:.0f}"
            for name, mib in report.memory_mib.items()
            if mib > self.plan.memory_mib
        ]
        await self._verify(report, fleet)

    def _latency(self, report: Report) -> None:
        if not self.plan.ratio:
            return
        for name in ("p50_s", "p99_s"):
            usual, now = getattr(report.quiet, name), getattr(report.hostile, name)
            if now > usual * self.plan.ratio:
                report.broken.append(
                    f"{name[:3]} went from {usual * 1000:.0f} to {now * 1000:.0f} ms, more than × {self.plan.ratio:g}"
                )

    async def _verify(self, report: Report, fleet: HostileFleet) -> None:
        """The log decides today as it did then, whatever lies on it."""
        self.say("hil replay verify")
        code, said = await fleet.hil("replay", "verify", "--json")
        try:
            difference = json.loads(said.strip().splitlines()[-1])["difference"]
        except (ValueError, KeyError, IndexError):
            difference = said[-1500:] or "nothing was said"
        if code or difference:
            report.broken.append(f"hil replay verify: exit {code}, {str(difference)[:1500]}")


async def topics(bootstrap: str) -> list[str]:
    """Every topic but the broker's own."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        return sorted(set(await consumer.topics()) - set(INTERNAL))
    finally:
        await consumer.stop()
