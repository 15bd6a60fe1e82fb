"""A small made-up log, and what the projection made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from connectors.postgres.pool import Pool
from connectors.postgres.projection import PostgresProjection, rebuildable
from schemas import topics
from schemas.base import Event
from schemas.codec import decode, encode
from schemas.events import (
    ActionUsed,
    AgentHealth,
    Alert,
    DeadLetter,
    HumanTask,
    ModelCalled,
    NodeFinished,
    NodeRequested,
    RollupChanged,
    RunFinished,
    RunStarted,
    WorkflowPublished,
)
from schemas.events import NodeStatus as Status
from streams.projector import Projector
from streams.runtime import Outgoing, Record

START_MS = 1_780_000_000_123


def run(conversation: str, turn: int, *, question: str = "Where is my order?", answer: str = "On its way.") -> list[Event]:
    """What `workflow.events` has of one run of two nodes, one of them skipped; turn counts from 1."""
    run_id = f"{conversation}-run-{turn}"
    at = START_MS + turn * 1000
    decided: dict[str, Any] = {"conversation_id": conversation, "run_id": run_id, "cause_id": "cause"}
    workflow: dict[str, Any] = {"workflow": "support", "version": "2.0.0", "message_id": f"m{turn}"}
    return [
        RunStarted(
            id=f"{run_id}-1",
            time_ms=at,
            ordinal=2 * turn - 1,
            text=question,
            digest="d" * 64,
            context={"shop": 7},
            **workflow,
            **decided,
        ),
        NodeRequested(
            id=f"{run_id}-2", time_ms=at, node_id="answer", execution_id=f"{run_id}-x", agent="helper", attempt=1, **decided
        ),
        NodeFinished(id=f"{run_id}-3", time_ms=at + 1, node_id="refund", status=Status.SKIPPED, reason="no edge", **decided),
        NodeFinished(
            id=f"{run_id}-4",
            time_ms=at + 9,
            node_id="answer",
            status=Status.EXECUTED,
            agent="helper",
            agent_type="simple",
            attempt=1,
            output={"text": answer},
            cost_micro_usd=1_250,
            input_text_tokens=120,
            output_text_tokens=30,
            duration_ms=8,
            models=["tiny"],
            tools=["shopify.get_order"],
            **decided,
        ),
        RunFinished(
            id=f"{run_id}-5",
            time_ms=at + 10,
            ordinal=2 * turn,
            status="completed",
            text=answer,
            cost_micro_usd=1_250,
            duration_ms=10,
            executed=["answer"],
            skipped=["refund"],
            **workflow,
            **decided,
        ),
    ]


def model_called(conversation: str, turn: int, *, error: str | None = None) -> ModelCalled:
    return ModelCalled(
        id=f"{conversation}-call-{turn}",
        time_ms=START_MS + turn * 1000 + 5,
        conversation_id=conversation,
        run_id=f"{conversation}-run-{turn}",
        node_id="answer",
        execution_id=f"{conversation}-run-{turn}-x",
        attempt=1,
        workflow="support",
        agent="helper",
        profile="fast",
        provider="local",
        model="tiny",
        success=error is None,
        error=error,
        input_text_tokens=120,
        output_text_tokens=30,
        cost_micro_usd=1_250,
        latency_ms=7,
    )


def action_used(conversation: str, turn: int) -> ActionUsed:
    return ActionUsed(
        id=f"{conversation}-use-{turn}",
        time_ms=START_MS + turn * 1000 + 6,
        conversation_id=conversation,
        run_id=f"{conversation}-run-{turn}",
        node_id="answer",
        execution_id=f"{conversation}-run-{turn}-x",
        attempt=1,
        workflow="support",
        app="shopify",
        action="get_order",
        success=True,
        latency_ms=3,
    )


def dead_letter(offset: int, payload_base64: str = "e30=") -> DeadLetter:
    return DeadLetter(
        id=f"letter-{offset}",
        time_ms=START_MS,
        conversation_id="",
        processor="intake",
        topic="customer.messages",
        partition=0,
        offset=offset,
        code="invalid_json",
        reason="the value is not JSON. Send JSON.",
        headers={"a": "b"},
        payload_base64=payload_base64,
        payload_bytes=2,
    )


def human_task(conversation: str) -> HumanTask:
    return HumanTask(
        id=f"{conversation}-task",
        time_ms=START_MS,
        conversation_id=conversation,
        run_id=f"{conversation}-run-1",
        node_id="answer",
        reason="in doubt",
        details={"intent": 1},
    )


def published(*, deprecated: bool = False) -> WorkflowPublished:
    return WorkflowPublished(
        id=f"published-{deprecated}",
        time_ms=START_MS,
        name="support",
        version="2.0.0",
        digest="d" * 64,
        source="name: support",
        definition={"name": "support"},
        agent_types={"helper": "simple"},
        deprecated=deprecated,
        published_ms=START_MS,
    )


def rolled_up(last_offset: int, cost_micro_usd: int, *, model: str = "small") -> RollupChanged:
    """What the ledger said of one row after its source's record `last_offset`."""
    return RollupChanged(
        id=f"rollup-{model}-{last_offset}",
        time_ms=START_MS + last_offset,
        conversation_id="",
        kind="calls",
        source_partition=1,
        last_offset=last_offset,
        hour_ms=START_MS - START_MS % 3_600_000,
        model=model,
        count=last_offset,
        cost_micro_usd=cost_micro_usd,
        latency={"7": last_offset},
    )


def health(*, healthy: bool) -> AgentHealth:
    return AgentHealth(
        id=f"health-{healthy}",
        time_ms=START_MS,
        conversation_id="",
        agent="helper",
        healthy=healthy,
        executions=20,
        failures=2 if healthy else 12,
        window_ms=86_400_000,
        since_ms=START_MS,
    )


def alert(state: str) -> Alert:
    return Alert(
        id=f"alert-{state}",
        time_ms=START_MS,
        conversation_id="",
        name="budget.daily.support",
        kind="budget",
        state=state,
        message="support has spent $9 of $10",
        workflow="support",
    )


def records(topic: str, events: Iterable[Event], *, partition: int = 0, start: int = 0) -> list[Record]:
    """The events as they lie on one partition of `topic`."""
    lying = []
    for offset, event in enumerate(events, start):
        value, headers = encode(event)
        lying.append(Record(topic, partition, offset, event.time_ms, event.key.encode(), value, tuple(headers)))
    return lying


def small_log() -> list[Record]:
    """A bit of every topic: three turns of one conversation, one of another, in two partitions."""
    first = [event for turn in (1, 2, 3) for event in run("ann", turn)]
    return [
        *records(topics.WORKFLOW_EVENTS, first, partition=0),
        *records(topics.WORKFLOW_EVENTS, run("bob", 1), partition=1),
        *records(
            topics.ROUTING_DECISIONS, [model_called("ann", 1), model_called("ann", 2, error="slow"), model_called("bob", 1)]
        ),
        *records(topics.ACTION_USAGE, [action_used("ann", 1)]),
        *records(topics.HUMAN_TASKS, [human_task("bob")]),
        *records(topics.DEAD_LETTERS, [dead_letter(3), dead_letter(4, "not base64!")]),
        *records(topics.WORKFLOW_DEFINITIONS, [published(), published(deprecated=True)]),
        *records(topics.COSTS_ROLLUPS, [rolled_up(3, 30), rolled_up(9, 90), rolled_up(9, 90), rolled_up(4, 4, model="large")]),
        *records(topics.AGENT_HEALTH, [health(healthy=False), health(healthy=True)]),
        *records(topics.ALERTS, [alert("warning"), alert("ok")]),
    ]


class Letters:
    """Collects the dead letters a projector sends."""

    def __init__(self) -> None:
        self.seen: list[DeadLetter] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        for record in records:
            letter = decode(record.value, record.headers)
            assert isinstance(letter, DeadLetter)
            assert record.topic == topics.DEAD_LETTERS
            self.seen.append(letter)


async def started(pool: Pool, lying: Sequence[Record], *, letters: Letters | None = None) -> Projector:
    """A projector that has just taken over every partition of `lying`."""
    projector = Projector(PostgresProjection(pool), send=(letters or Letters()).send)
    await projector.positions({(record.topic, record.partition) for record in lying})
    return projector


async def everything(pool: Pool) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every rebuildable table, in the order of its text."""
    return {
        table: [tuple(row) for row in await pool.fetch(f"SELECT * FROM {table} AS t ORDER BY t::text")]
        for table in await rebuildable(pool)
    }
