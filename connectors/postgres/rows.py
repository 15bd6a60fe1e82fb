"""Which rows an event says something about. Pure: the same events give the same rows, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from connectors.postgres.table import Row, Table
from connectors.postgres.tables import (
    ACTION_USAGE,
    AGENT_EXECUTIONS,
    AGENT_HEALTH,
    ALERTS,
    CONVERSATIONS,
    COST_ROLLUPS,
    DEAD_LETTERS,
    HUMAN_TASKS,
    MESSAGES,
    ROUTING_DECISIONS,
    WORKFLOW_EXECUTIONS,
    WORKFLOW_REGISTRY,
)
from connectors.postgres.values import from_base64
from schemas import events
from schemas.base import Event

Said = tuple[Table, Row]


def said_by(event: Event) -> Iterator[Said]:
    """The rows `event` speaks about; none when it is of no interest here."""
    speak = _SPEAKERS.get(type(event))
    return speak(event) if speak else iter(())


def _run_started(event: events.RunStarted) -> Iterator[Said]:
    run = {"run_id": event.run_id, "conversation_id": event.conversation_id, "message_id": event.message_id}
    yield (
        WORKFLOW_EXECUTIONS,
        run
        | {
            "ordinal": event.ordinal,
            "workflow": event.workflow,
            "version": event.version,
            "digest": event.digest,
            "context": event.context,
            "received_at": event.received_ms or event.time_ms,
            "started_at": event.time_ms,
        },
    )
    yield (
        MESSAGES,
        run | {"ordinal": event.ordinal, "role": "customer", "text": event.text, "time": event.received_ms or event.time_ms},
    )
    yield (
        CONVERSATIONS,
        {
            "conversation_id": event.conversation_id,
            "customer_id": event.customer_id,
            "customer_email": event.customer_email,
            "workflow": event.workflow,
            "last_run_id": event.run_id,
            "last_status": "running",
            "last_ordinal": event.ordinal,
            "started_at": event.time_ms,
            "updated_at": event.time_ms,
        },
    )


def _node_requested(event: events.NodeRequested) -> Iterator[Said]:
    yield (
        AGENT_EXECUTIONS,
        {
            "run_id": event.run_id,
            "node_id": event.node_id,
            "conversation_id": event.conversation_id,
            "execution_id": event.execution_id,
            "agent": event.agent or None,
            "attempts": event.attempt,
            "requested_at": event.time_ms,
        },
    )


def _node_finished(event: events.NodeFinished) -> Iterator[Said]:
    yield (
        AGENT_EXECUTIONS,
        {
            "run_id": event.run_id,
            "node_id": event.node_id,
            "conversation_id": event.conversation_id,
            "agent": event.agent or None,
            "agent_type": event.agent_type or None,
            "status": event.status.value,
            "reason": event.reason,
            "error": event.error,
            "attempts": event.attempt,
            "finished_at": event.time_ms,
            "duration_ms": event.duration_ms,
            "cost_micro_usd": event.cost_micro_usd,
            "input_text_tokens": event.input_text_tokens,
            "output_text_tokens": event.output_text_tokens,
            "models": event.models,
            "tools": event.tools,
            "output": event.output,
            "steps": event.steps,
        },
    )


def _run_finished(event: events.RunFinished) -> Iterator[Said]:
    run = {"run_id": event.run_id, "conversation_id": event.conversation_id, "message_id": event.message_id}
    yield (
        WORKFLOW_EXECUTIONS,
        run
        | {
            "workflow": event.workflow,
            "version": event.version,
            "status": event.status,
            "text": event.text,
            "error": event.error,
            "finished_at": event.time_ms,
            "duration_ms": event.duration_ms,
            "cost_micro_usd": event.cost_micro_usd,
            "executed": event.executed,
            "skipped": event.skipped,
            "failed": event.failed,
        },
    )
    yield MESSAGES, run | {"ordinal": event.ordinal, "role": "agent", "text": event.text, "time": event.time_ms}
    yield (
        CONVERSATIONS,
        {
            "conversation_id": event.conversation_id,
            "workflow": event.workflow,
            "last_run_id": event.run_id,
            "last_status": event.status,
            "last_ordinal": event.ordinal,
            "updated_at": event.time_ms,
        },
    )


def _model_called(event: events.ModelCalled) -> Iterator[Said]:
    yield (
        ROUTING_DECISIONS,
        _fields(event, ROUTING_DECISIONS)
        | {
            "decision_id": event.id,
            "occurred_at": event.time_ms,
            "requested_profile": event.profile,
            "selected_model": event.model,
        },
    )


def _action_used(event: events.ActionUsed) -> Iterator[Said]:
    yield ACTION_USAGE, _fields(event, ACTION_USAGE) | {"usage_id": event.id, "occurred_at": event.time_ms}


def _human_task(event: events.HumanTask) -> Iterator[Said]:
    yield HUMAN_TASKS, _fields(event, HUMAN_TASKS) | {"task_id": event.id, "created_at": event.time_ms}


def _dead_letter(event: events.DeadLetter) -> Iterator[Said]:
    yield (
        DEAD_LETTERS,
        _fields(event, DEAD_LETTERS)
        | {"letter_id": event.id, "occurred_at": event.time_ms, "payload": from_base64(event.payload_base64)},
    )


def _rollup_changed(event: events.RollupChanged) -> Iterator[Said]:
    yield (
        COST_ROLLUPS,
        _fields(event, COST_ROLLUPS) | {"rollup_key": event.key, "hour": event.hour_ms, "updated_at": event.time_ms},
    )


def _agent_health(event: events.AgentHealth) -> Iterator[Said]:
    yield AGENT_HEALTH, _fields(event, AGENT_HEALTH) | {"since": event.since_ms, "checked_at": event.time_ms}


def _alert(event: events.Alert) -> Iterator[Said]:
    yield (
        ALERTS,
        _fields(event, ALERTS)
        | {
            "alert_id": event.id,
            "occurred_at": event.time_ms,
            "period_start": event.period_start_ms or None,
            "until": event.until_ms or None,
        },
    )


def _workflow_published(event: events.WorkflowPublished) -> Iterator[Said]:
    yield WORKFLOW_REGISTRY, _fields(event, WORKFLOW_REGISTRY) | {"published_at": event.published_ms or event.time_ms}


def _fields(event: Event, table: Table) -> dict[str, Any]:
    """The event's fields that the table has columns of the same name for."""
    return {name: getattr(event, name) for name in type(event).model_fields.keys() & table.columns.keys()}


_SPEAKERS: dict[type[Event], Callable[[Any], Iterator[Said]]] = {
    events.RunStarted: _run_started,
    events.NodeRequested: _node_requested,
    events.NodeFinished: _node_finished,
    events.RunFinished: _run_finished,
    events.ModelCalled: _model_called,
    events.ActionUsed: _action_used,
    events.HumanTask: _human_task,
    events.DeadLetter: _dead_letter,
    events.WorkflowPublished: _workflow_published,
    events.RollupChanged: _rollup_changed,
    events.AgentHealth: _agent_health,
    events.Alert: _alert,
}
