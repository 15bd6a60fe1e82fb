"""The conversations processor: one event in, its decision out, and timers that fire while they are wanted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schemas.events import CustomerResponse, HumanTask, MessageReceived, NodeCompleted, NodeTask, Outcome, TimerFired
from schemas.ids import derive
from schemas.workflow.definition import WorkflowDefinition
from streams.conversations import Conversations
from streams.core.bounds import RULES
from streams.core.state import Conversation, Timer
from streams.definitions import Definitions, published
from streams.runtime import SetAside, Undecodable
from streams.runtime.publisher import key_hash
from streams.timers import DueTimers
from tests.support.steps import FakeStep, FakeView, record_of


def definitions() -> Definitions:
    definition = WorkflowDefinition.model_validate(
        {
            "name": "w",
            "version": "1.0.0",
            "workflow": {"nodes": [{"id": "n", "agent": "a", "prompt_template": "x", "retry": {"initial_delay_seconds": 0.02}}]},
        }
    )
    known = Definitions()
    known.add(published(definition, "", {"a": "reasoning"}, at_ms=0))
    return known


def message(known: Definitions) -> MessageReceived:
    [workflow] = known.list()
    event = workflow.published
    return MessageReceived(
        id=derive("c", "m"),
        time_ms=10,
        conversation_id="c",
        message_id="m",
        text="hi",
        workflow=event.name,
        version=event.version,
        digest=event.digest,
    )


def completion(task: NodeTask, outcome: Outcome = Outcome.OK) -> NodeCompleted:
    return NodeCompleted(
        id=derive(task.execution_id, task.attempt),
        time_ms=20,
        conversation_id="c",
        run_id=task.run_id,
        node_id="n",
        execution_id=task.execution_id,
        attempt=task.attempt,
        epoch=0,
        outcome=outcome,
        output="done",
        error=None if outcome is Outcome.OK else "busy",
    )


async def test_a_task_goes_to_the_workers_of_its_agents_type_and_the_answer_to_the_customer():
    known, states = definitions(), {}
    processor = Conversations(known, clock_ms=lambda: 30)
    processor.opened(FakeView(states))
    step = FakeStep(states)
    await processor.handle(record_of(message(known)), step)
    [task] = step.events(NodeTask)
    assert (
        next(out.topic for out in step.outs if out.value and task.id.encode() in dict(out.headers).values())
        == "node.tasks.reasoning"
    )
    after = FakeStep(states)
    await processor.handle(record_of(completion(task)), after)
    [response] = after.events(CustomerResponse)
    assert (response.text, response.status) == ("done", "completed")
    processor.closed(0)


async def waiting() -> tuple[Conversations, dict[str, Any], FakeView, list[int]]:
    """A conversation whose node waits for its second attempt."""
    known, states, now = definitions(), {}, [30]
    processor, view = Conversations(known, clock_ms=lambda: now[0]), FakeView(states)
    processor.opened(view)
    step = FakeStep(states)
    await processor.handle(record_of(message(known)), step)
    [task] = step.events(NodeTask)
    now[0] = 10_000
    await processor.handle(record_of(completion(task, Outcome.RETRYABLE)), FakeStep(states))
    return processor, states, view, now


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def test_a_due_timer_is_fired_as_an_event_of_its_conversation():
    processor, states, view, _ = await waiting()
    await until(lambda: view.outs)
    [out] = view.outs
    assert (out.topic, out.key) == ("conversation.events", b"c")
    step = FakeStep(states)
    timer = states["c"].timers[0]
    event = TimerFired(
        id=derive(timer.timer_id, "fired"), time_ms=99, conversation_id="c", timer_id=timer.timer_id, due_ms=timer.due_ms
    )
    await processor.handle(record_of(event), step)
    assert [task.attempt for task in step.events(NodeTask)] == [2]
    processor.closed(0)


async def test_a_timer_that_is_not_wanted_any_more_is_not_fired():
    processor, states, view, _ = await waiting()
    del states["c"]
    await asyncio.sleep(0)
    await until(lambda: not processor._timers[0])
    assert view.outs == []
    processor.closed(0)


async def test_timers_that_came_due_while_nobody_owned_the_partition_fire_when_it_is_opened():
    first, states, _, _ = await waiting()
    first.closed(0)
    later, view = Conversations(definitions(), clock_ms=lambda: 1_000_000), FakeView(states)
    later.opened(view)
    await until(lambda: view.outs)
    later.closed(0)


async def test_timers_fire_in_the_order_in_which_they_are_due():
    fired: list[str] = []
    timers = DueTimers(fired.append, lambda: 100)
    for due, name in ((90, "b"), (80, "a"), (95, "c")):
        timers.add(due, name)
    await until(lambda: len(fired) == 3)
    assert fired == ["a", "b", "c"]
    timers.close()


async def test_a_closed_partition_fires_nothing():
    fired: list[str] = []
    timers = DueTimers(fired.append, lambda: 100)
    timers.add(90, "a")
    timers.close()
    await asyncio.sleep(0)
    assert (fired, len(timers)) == ([], 0)


async def test_an_event_that_does_not_belong_here_is_refused():
    alien = HumanTask(id="1", time_ms=0, conversation_id="c", run_id="r", node_id="n", reason="x")
    with pytest.raises(Undecodable, match="does not belong"):
        await Conversations(definitions(), clock_ms=lambda: 0).handle(record_of(alien), FakeStep())


async def test_a_message_whose_definition_is_not_known_lets_other_conversations_pass():
    known, states = definitions(), {}
    processor = Conversations(known, clock_ms=lambda: 30)
    processor.opened(FakeView(states))
    step = FakeStep(states)
    unknown = record_of(message(known).model_copy(update={"digest": "later"}))
    with pytest.raises(SetAside) as aside:
        await processor.handle(unknown, step)
    assert (step.outs, states) == ([], {})
    looked = []

    async def look() -> None:
        looked.append(1)

    known.look = look
    assert await aside.value.until() is None
    assert looked == [1], "whoever stamped the digest had read the definition: one look tells"
    step.waited = True
    await processor.handle(unknown, step)
    [response] = step.events(CustomerResponse)
    assert response.status == "failed"
    processor.closed(0)


async def test_a_run_whose_definition_has_not_arrived_here_yet_waits_for_it():
    """A partition may come from a process that had read more of the definitions."""
    known, states = definitions(), {}
    step = FakeStep(states)
    processor = Conversations(known, clock_ms=lambda: 30)
    processor.opened(FakeView(states))
    await processor.handle(record_of(message(known)), step)
    [task] = step.events(NodeTask)
    late = Definitions()
    other = Conversations(late, clock_ms=lambda: 40)
    other.opened(FakeView(states))
    after = FakeStep(states)
    with pytest.raises(SetAside) as aside:
        await other.handle(record_of(completion(task)), after)
    late.add(known.list()[0].published)
    assert await aside.value.until() is not None
    await other.handle(record_of(completion(task)), after)
    assert [response.status for response in after.events(CustomerResponse)] == ["completed"]
    processor.closed(0)
    other.closed(0)


async def test_what_the_reducer_refuses_is_a_dead_letter_and_leaves_the_state_alone():
    known, states = definitions(), {}
    processor = Conversations(known, clock_ms=lambda: 30)
    processor.opened(FakeView(states))
    first = message(known).model_copy(update={"customer_id": "ann", "rules": RULES})
    await processor.handle(record_of(first), FakeStep(states))
    before, step = states["c"], FakeStep(states)
    other = first.model_copy(update={"id": derive("c", "m2"), "message_id": "m2", "customer_id": "eve"})
    with pytest.raises(Undecodable) as refusal:
        await processor.handle(record_of(other), step)
    assert refusal.value.code == "other_customer"
    assert (step.outs, states["c"]) == ([], before)
    processor.closed(0)


async def test_a_state_that_makes_no_sense_keeps_nobody_elses_timers_from_firing():
    """Somebody has written it into the changelog: a time before time, a node that is not there, an idle time of no clock."""
    states: dict[str, Any] = {
        "mad": Conversation(run=None, timers=(Timer("t", -5, "n"),)),
        "idle": Conversation(ordinal=1, idle_ms=-5_000_000),
        "fine": Conversation(ordinal=1, timers=(Timer("u", 5, "n"),)),
        "over": Conversation(ordinal=1, idle_ms=5),
    }
    view = FakeView(states)
    processor = Conversations(definitions(), clock_ms=lambda: 1_000_000, ttl_ms=64_000)
    processor.opened(view)
    processor._timers[0]._ring()
    processor._idle[0]._ring()
    assert sorted(str(out.key) for out in view.outs) == ["b'fine'", "b'over'"]
    processor.closed(0)


async def test_an_event_on_another_partition_than_its_conversations_begins_no_second_one():
    """Written by somebody whose client has another hash; a retry of its letter puts it on the right one."""
    known, states = definitions(), {}
    event = message(known)
    right = key_hash(event.conversation_id.encode()) % 5
    processor = Conversations(known, clock_ms=lambda: 30, partitions=5)
    for partition in range(5):
        processor.opened(FakeView(states, partition))
        step = FakeStep(states, partition=partition)
        if partition == right:
            await processor.handle(record_of(event), step)
            assert states
        else:
            with pytest.raises(Undecodable, match=f"belongs on partition {right}"):
                await processor.handle(record_of(event), FakeStep({}, partition=partition))
        processor.closed(partition)
