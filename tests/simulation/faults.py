"""Fate: carries out the faults of a plan at the moments it names, and counts what really happened."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from schemas.codec import decode
from schemas.events import CancelRequested, RunStarted
from schemas.ids import derive
from streams.runtime.publisher import key_hash
from streams.wire import outgoing
from tests.simulation.plan import SETTLED_S, Fault
from tests.simulation.world import Process

if TYPE_CHECKING:
    from tests.simulation.schedule import Schedule, Slot

NEVER = 10**12


class Faults:
    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._world = schedule.world
        self.happened: Counter[str] = Counter()
        self.skews: dict[int, int] = {}
        self.usable_at = SETTLED_S
        """When at the latest every partition has a leader again that knows it."""
        self._steps = sorted((fault for fault in schedule.plan.faults if fault.trigger == "step"), key=lambda each: each.count)
        self._requests: dict[tuple[str, bool], dict[int, Fault]] = defaultdict(dict)
        self._shop: dict[int, Fault] = {}
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._acts = 0
        for fault in schedule.plan.faults:
            if fault.trigger == "shop":
                self._shop[fault.count] = fault
            elif fault.trigger != "step":
                self._requests[fault.kind, fault.trigger == "answer"][fault.count] = fault

    def arm(self) -> None:
        world = self._world
        if self._requests:
            self._schedule.broker.network.meddle = self._meddle
        if self._shop:
            self._schedule.shop.about_to = self._acting
        self._limit = world.max_steps
        world.interrupt_at = self._steps[0].count if self._steps else self._limit
        world.interrupt = self._due

    def _due(self) -> int:
        if self._world.steps >= self._limit:
            return self._world._too_long()
        while self._steps and self._steps[0].count <= self._world.steps:
            fault = self._steps.pop(0)
            if self._world.now <= SETTLED_S:
                self._strike(fault, None)
        return min(self._steps[0].count if self._steps else self._limit, self._limit)

    def _meddle(self, process: Process, kind: str, answered: bool) -> str | None:
        key = (kind, answered)
        planned = self._requests.get(key)
        if planned is None:
            return None
        self._counts[key] += 1
        fault = planned.get(self._counts[key])
        if fault is None or self._world.now > SETTLED_S:
            return None
        if fault.action in ("lose", "slow", "refuse"):
            self.happened[f"{fault.action} {'answer' if answered else 'request'}"] += 1
            self._world.note(process.name, fault)
            return fault.action
        self._strike(fault, process)
        return None

    def _acting(self, when: str) -> None:
        self._acts += 1
        fault = self._shop.get(self._acts)
        if fault is not None and self._world.now <= SETTLED_S:
            process = asyncio.get_running_loop()
            assert isinstance(process, Process)
            self._strike(fault, process)

    def _strike(self, fault: Fault, process: Process | None) -> None:
        """`process`: whose request or action it was; else the plan's place says whom it hits."""
        schedule = self._schedule
        slot = schedule.slots[fault.place % len(schedule.slots)]
        if process is not None:
            slot = next((each for each in schedule.slots if each.process is process), slot)
        target = process or slot.process
        getattr(self, f"_{fault.action}")(fault, slot, target)

    def _note(self, fault: Fault, target: Any, kind: str | None = None) -> None:
        self.happened[kind or fault.action] += 1
        self._world.note(target.name if isinstance(target, Process) else target, "<-", fault)

    # kinds

    def _kill(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        if process is None or not process.alive:
            return
        self._note(fault, process)
        self._world.kill(process)
        if slot.process is process:
            self._world.at(min(fault.seconds, 3.0), self._schedule.start, slot)

    def _freeze(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        if process is None or not process.alive or process.frozen:
            return
        self._note(fault, process, "freeze past the session" if fault.seconds > 6 else "freeze")
        self._world.freeze(process)
        self._schedule.broker.silent(process)
        self._world.at(fault.seconds, self._thaw, process)

    def _usurp(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        """Its supervisor believes it dead and starts another in its place; later it wakes up, for a while."""
        if process is None or not process.alive or process.frozen or slot.process is not process:
            return
        self._note(fault, process, "freeze and replace")
        self._world.freeze(process)
        self._schedule.broker.silent(process)
        self._world.at(min(fault.seconds, 3.0) / 4, self._schedule.start, slot)
        self._world.at(fault.seconds, self._thaw, process)
        self._world.at(fault.seconds + self._world.random.random() * 2, self._end, process)

    def _end(self, process: Process) -> None:
        if process.alive:
            self._world.note(process.name, "is ended")
            self._world.kill(process)

    def _thaw(self, process: Process) -> None:
        if process.alive and process.frozen:
            self._world.note(process.name, "wakes up")
            self._world.thaw(process)
            self._schedule.broker.heard(process)

    def _restart(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        if process is None or not process.alive or slot.stop is None or slot.process is not process:
            return
        self._note(fault, process, "orderly restart")
        process.call_soon(slot.stop.set)

    def _rebalance(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        from tests.simulation.oracle import GROUPS

        group = list(GROUPS.values())[fault.count % len(GROUPS)]
        self._note(fault, group)
        self._schedule.broker.groups.rebalance(group)

    def _redeliver(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        """What a producer without memory does: a record is put on its topic once more."""
        broker = self._schedule.broker
        topics = ("conversation.events", *self._schedule.task_topics)
        logs = [log for name in topics for log in broker.topics[name].logs if log.entries]
        if not logs:
            return
        log = logs[fault.place % len(logs)]
        entry = log.entries[fault.count % len(log.entries)]
        self._note(fault, f"{log.tp.topic}-{log.tp.partition}@{entry.offset}")
        log.produce(-1, -1, -1, [(entry.key, entry.value, entry.headers, entry.timestamp)])

    def _cancel(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        """Somebody cancels a run: the latest, or one before it, whether it goes on or not."""
        broker, entries = self._schedule.broker, self._schedule.broker.topics["workflow.events"].logs[0].entries
        started = [entry for entry in entries if dict(entry.headers)["ce_type"] == RunStarted.TYPE.encode()]
        if not started:
            return
        run = decode(started[-1 - fault.place % len(started)].value)
        assert isinstance(run, RunStarted)
        self._note(fault, run.run_id)
        self._schedule.oracle.cancelled.add(run.run_id)
        asked = outgoing(
            CancelRequested(
                id=derive(run.run_id, "cancel", fault.count),
                time_ms=broker.now_ms(),
                conversation_id=run.conversation_id,
                run_id=run.run_id,
            )
        )
        assert asked.key is not None
        logs = broker.topics[asked.topic].logs
        log = logs[key_hash(asked.key) % len(logs)]
        log.produce(-1, -1, -1, [(asked.key, asked.value, asked.headers, broker.now_ms())])

    def _compact(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        self._note(fault, "changelogs")
        for topic in self._schedule.broker.topics.values():
            if topic.compacted:
                for log in topic.logs:
                    log.compact()

    # of brokers: one at a time, for the cluster has to stay usable

    def _broker(self, fault: Fault) -> int | None:
        brokers = self._schedule.broker.brokers
        if brokers is None or not brokers.well:
            return None
        number = fault.place % len(brokers.nodes) + 1
        self._note(fault, f"broker {number}")
        self.usable_at = self._world.now + brokers.detect_s + brokers.lag_s
        return number

    def _kill_broker(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        number = self._broker(fault)
        if number is not None:
            self._schedule.broker.brokers.kill(number, fault.seconds)

    def _freeze_broker(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        number = self._broker(fault)
        if number is not None:
            self._schedule.broker.brokers.freeze(number, fault.seconds)

    def _move_leaders(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        if self._broker(fault) is not None:
            self._schedule.broker.brokers.move()

    def _skew(self, fault: Fault, slot: Slot, process: Process | None) -> None:
        if process is None:
            return
        self._note(fault, process, "skewed clock")
        process.skew_ms = self.skews[slot.number] = int((fault.seconds - 4) * 500)
