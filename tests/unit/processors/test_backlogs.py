"""A backlog of an hour, on whatever topic, fails nothing; nor does what a record says of its time.

Intake, conversations and a node worker on queues in memory, under one clock that is ours to move.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from schemas.codec import decode
from schemas.events import CustomerResponse, NodeBegun, NodeTask, TimerFired
from schemas.workflow.definition import WorkflowDefinition
from streams.conversations import Conversations
from streams.definitions import Definitions, published
from streams.intake import Admission, Intake
from streams.nodes import Nodes
from streams.runtime import Outgoing, Record
from tests.support.steps import FakeStep, FakeView
from tests.unit.processors.test_nodes import Workshop, buys_and_says

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NOW_MS = 1_795_000_000_000
SHAPES: dict[str, dict[str, Any]] = {
    "run": {"timeout_seconds": 60},
    "node": {"node": {"timeout_seconds": 30}},
    "one attempt": {"node": {"timeout_seconds": 30, "retry": {"max_attempts": 1}}},
    "both": {"timeout_seconds": 60, "node": {"timeout_seconds": 30, "retry": {"max_attempts": 1}}},
}


class System:
    """Three processors. Nothing moves unless it is told to."""

    def __init__(self, shape: dict[str, Any], *, ttl_ms: int = 30 * DAY_MS) -> None:
        self.now_ms, self.ttl_ms = NOW_MS, ttl_ms
        self.waiting: dict[str, list[Record]] = defaultdict(list)
        self.offsets: dict[str, int] = defaultdict(int)
        self.said: dict[str, list[Any]] = defaultdict(list)
        self.states: dict[str, Any] = {}
        self.journal: dict[str, Any] = {}
        node, rest = shape.get("node", {}), {key: value for key, value in shape.items() if key != "node"}
        definition = WorkflowDefinition.model_validate(
            {
                "name": "w",
                "version": "1.0.0",
                "workflow": {
                    "nodes": [{"id": name, "agent": "a", "prompt_template": "x", **node} for name in ("first", "second")],
                    "edges": [{"from": "first", "to": "second"}, {"from": "second", "to": "END"}],
                },
                **rest,
            }
        )
        self.known = Definitions()
        self.known.add(published(definition, "", {"a": "simple"}, at_ms=0))
        clock = self.clock
        self.intake = Intake(self.known, Admission("w"), clock_ms=clock)
        self.nodes = Nodes(self.known, Workshop(buys_and_says), clock_ms=clock)
        self.start_conversations()

    def clock(self) -> int:
        return self.now_ms

    def start_conversations(self) -> None:
        """A process that comes up, with what its predecessor left."""
        self.view = FakeView(self.states)
        self.conversations = Conversations(self.known, clock_ms=self.clock, ttl_ms=self.ttl_ms)
        self.conversations.opened(self.view)

    def send(self, text: str, *, stamped_ms: int | None = None, conversation: str = "c") -> None:
        value = json.dumps({"text": text, "conversation_id": conversation, "message_id": text}).encode()
        self.put(Outgoing("customer.messages", None, value), stamped_ms)

    def put(self, out: Outgoing, stamped_ms: int | None = None) -> None:
        self.offsets[out.topic] += 1
        at = self.now_ms if stamped_ms is None else stamped_ms
        record = Record(out.topic, 0, self.offsets[out.topic], at, out.key, out.value, out.headers)
        self.waiting[out.topic].append(record)
        if out.topic != "customer.messages":
            self.said[out.topic].append(decode(out.value, out.headers))

    async def work(self, topic: str, processor: Any, states: dict[str, Any]) -> bool:
        """Handle what waits on a topic. Whether there was anything."""
        records, self.waiting[topic] = self.waiting[topic], []
        for record in records:
            step = FakeStep(states)
            await processor.handle(record, step)
            self.now_ms += 1
            for out in step.outs:
                self.put(out)
        return bool(records)

    async def admit(self) -> bool:
        return await self.work("customer.messages", self.intake, {})

    async def decide(self) -> bool:
        moved = await self.work("conversation.events", self.conversations, self.states)
        self.ring()
        return moved

    async def act(self) -> bool:
        return await self.work("node.tasks.simple", self.nodes, self.journal)

    def ring(self) -> None:
        """Whatever is due fires."""
        self.conversations._timers[0]._ring()
        self.conversations._idle[0]._ring()
        for out in self.view.outs:
            self.put(out)
        self.view.outs.clear()

    async def settle(self) -> None:
        """Until nothing moves."""
        while True:
            moved = [await self.admit(), await self.decide(), await self.act()]
            if not any(moved):
                return

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.ring()

    def close(self) -> None:
        self.conversations.closed(0)

    @property
    def responses(self) -> list[CustomerResponse]:
        return self.said["customer.responses"]

    def answered_at_the_first_attempt(self) -> bool:
        attempts = {(task.run_id, task.node_id, task.attempt) for task in self.said["node.tasks.simple"]}
        return [each.status for each in self.responses] == ["completed"] and {attempt for _, _, attempt in attempts} == {1}


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SHAPES[request.param]


@pytest.mark.parametrize("stamped_ms", [1, NOW_MS - 600_000, NOW_MS - 100 * DAY_MS, NOW_MS + 3_000_000], ids=lambda ms: str(ms))
async def test_whatever_a_record_says_of_its_time_its_message_is_answered(shape: dict[str, Any], stamped_ms: int):
    system = System(shape)
    system.send("hi", stamped_ms=stamped_ms)
    await system.settle()
    assert system.answered_at_the_first_attempt()
    assert system.responses[0].duration_ms < 1_000
    system.close()


async def test_messages_that_waited_for_intake_are_answered(shape: dict[str, Any]):
    system = System(shape)
    system.send("hi")
    system.wait(HOUR_MS)
    await system.settle()
    assert system.answered_at_the_first_attempt()
    system.close()


@pytest.mark.parametrize("up", [True, False], ids=["slow", "down"])
async def test_events_that_waited_for_the_conversations_fail_nothing(shape: dict[str, Any], up: bool):
    """Before each event is read an hour goes by, with the processor running, or not."""
    system = System(shape)
    system.send("hi")
    await system.admit()
    for _ in range(20):
        if not up:
            system.close()
        system.now_ms += HOUR_MS
        if up:
            system.ring()
        else:
            system.start_conversations()
        await system.decide()
        await system.act()
    assert system.answered_at_the_first_attempt()
    system.close()


async def test_tasks_that_waited_for_a_worker_fail_nothing(shape: dict[str, Any]):
    system = System(shape)
    system.send("hi")
    await system.admit()
    for _ in range(4):
        await system.decide()
        for _ in range(120):
            system.wait(HOUR_MS // 120)
            await system.decide()
        await system.act()
    await system.settle()
    assert system.answered_at_the_first_attempt()
    assert {event.waited_ms // HOUR_MS for event in system.said["conversation.events"] if isinstance(event, NodeBegun)} == {1}
    system.close()


async def test_an_outage_of_everything_fails_nothing(shape: dict[str, Any]):
    """A worker had begun, and all of it was down for an hour; the task comes again."""
    system = System(shape)
    system.send("hi")
    await system.admit()
    await system.decide()
    [task] = system.waiting["node.tasks.simple"]
    await system.act()
    begun = [record for record in system.waiting["conversation.events"] if b"hil.node.begun" in dict(record.headers)["ce_type"]]
    system.waiting["conversation.events"] = begun  # the worker died before it was done
    await system.decide()
    system.close()
    system.journal.clear()
    system.now_ms += HOUR_MS
    system.start_conversations()
    system.waiting["node.tasks.simple"] = [task]
    await system.settle()
    assert system.answered_at_the_first_attempt()
    system.close()


async def test_a_worker_that_took_a_task_up_and_was_never_heard_of_is_not_waited_for():
    system = System(SHAPES["one attempt"])
    system.send("hi")
    await system.admit()
    await system.decide()
    [task] = system.waiting["node.tasks.simple"]
    await system.act()
    system.waiting["conversation.events"] = system.waiting["conversation.events"][:1]
    await system.decide()
    system.wait(29_000)
    await system.decide()
    assert system.responses == []
    system.wait(3_000)
    await system.decide()
    await system.decide()
    assert [each.status for each in system.responses] == ["failed"]
    assert isinstance(decode(task.value, task.headers), NodeTask)
    system.close()


async def test_a_conversation_whose_events_waited_is_not_forgotten_before_it_could_answer():
    """A time to live of ten minutes, and an answer that is read an hour late."""
    system = System({}, ttl_ms=600_000)
    system.send("hi")
    await system.admit()
    await system.decide()
    await system.act()
    system.now_ms += HOUR_MS
    await system.decide()
    await system.act()
    system.now_ms += HOUR_MS
    await system.decide()
    assert len(system.responses) == 1
    system.wait(300_000)
    await system.decide()
    assert "c" in system.states
    system.wait(400_000)
    await system.decide()
    assert any(isinstance(event, TimerFired) for event in system.said["conversation.events"])
    assert "c" not in system.states
    system.close()


async def test_timers_of_what_is_over_are_not_kept_for_a_day():
    """A day of them would be memory without bound."""
    system = System(SHAPES["both"])
    for number in range(50):
        system.send("hi", conversation=f"c{number}")
    await system.settle()
    assert len(system.responses) == 50
    system.wait(62_000)
    assert len(system.conversations._timers[0]) == 0
    system.close()
