"""The topics: names, who keys them how, what they carry, and how they are created."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from schemas import events

DAY_MS = 86_400_000
CUSTOMER_MESSAGES = "customer.messages"
CUSTOMER_RESPONSES = "customer.responses"
CONVERSATION_EVENTS = "conversation.events"
WORKFLOW_EVENTS = "workflow.events"
HUMAN_TASKS = "human.tasks"
NODE_TASKS_SIMPLE = "node.tasks.simple"
NODE_TASKS_REASONING = "node.tasks.reasoning"
NODE_TASKS_CODE = "node.tasks.code"
ROUTING_DECISIONS = "llm.routing-decisions"
ACTION_USAGE = "tool.action-usage"
WORKFLOW_DEFINITIONS = "workflow.definitions"
DEAD_LETTERS = "dead-letters"
CONVERSATION_STATE = "conversation-state"
INTAKE_POSITIONS = "intake.positions"
COSTS_ROLLUPS = "costs.rollups"
AGENT_HEALTH = "agent.health"
ALERTS = "alerts"
BUDGET_NOTICES = "budget.notices"
LEDGER_CALLS = "ledger-state.calls"
LEDGER_ACTIONS = "ledger-state.actions"
LEDGER_ENDINGS = "ledger-state.endings"
LEDGER_SEEN = "ledger-state.seen"
LEDGER_SOURCES = (ROUTING_DECISIONS, ACTION_USAGE, WORKFLOW_EVENTS)
"""What the ledger counts. Partition n of each goes to the same worker, so their counts must be equal."""
LEDGER_STATE = {
    LEDGER_CALLS: ROUTING_DECISIONS,
    LEDGER_ACTIONS: ACTION_USAGE,
    LEDGER_ENDINGS: WORKFLOW_EVENTS,
    LEDGER_SEEN: ROUTING_DECISIONS,
}
"""Changelog of a table of the ledger → the source whose partitions it follows."""

TASK_TOPICS = {
    "simple": NODE_TASKS_SIMPLE,
    "reasoning": NODE_TASKS_REASONING,
    "supervisor": NODE_TASKS_REASONING,
    "code": NODE_TASKS_CODE,
}


def journal_of(task_topic: str) -> str:
    """The changelog of the node workers on `task_topic`."""
    return task_topic.replace("node.tasks.", "node-journal.")


MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""What a topic accepts. Larger than anything intake admits, so that an oversized message can be refused in words."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as `hil topics create` makes it."""

    name: str
    carries: tuple[type, ...]
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = -1
    encoding: Literal["json", "avro", "state"] = "avro"
    single_partition: bool = False
    config: dict[str, str] = field(default_factory=dict)


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(CUSTOMER_MESSAGES, (events.InboundMessage,), retention_ms=7 * DAY_MS, encoding="json"),
        Topic(
            CONVERSATION_EVENTS,
            (
                events.MessageReceived,
                events.NodeCompleted,
                events.NodeBegun,
                events.TimerFired,
                events.CancelRequested,
                events.RerunRequested,
            ),
            retention_ms=7 * 365 * DAY_MS,
        ),
        Topic(
            WORKFLOW_EVENTS,
            (
                events.RunStarted,
                events.NodeRequested,
                events.NodeFinished,
                events.RunFinished,
                events.MessageSetAside,
                events.ConversationExpired,
            ),
            retention_ms=7 * 365 * DAY_MS,
        ),
        Topic(CUSTOMER_RESPONSES, (events.CustomerResponse,), retention_ms=30 * DAY_MS, encoding="json"),
        Topic(HUMAN_TASKS, (events.HumanTask,), retention_ms=30 * DAY_MS, encoding="json"),
        *(Topic(name, (events.NodeTask,), retention_ms=7 * DAY_MS) for name in dict.fromkeys(TASK_TOPICS.values())),
        Topic(ROUTING_DECISIONS, (events.ModelCalled,), retention_ms=90 * DAY_MS),
        Topic(ACTION_USAGE, (events.ActionUsed,), retention_ms=90 * DAY_MS),
        Topic(WORKFLOW_DEFINITIONS, (events.WorkflowPublished,), cleanup="compact", encoding="json", single_partition=True),
        Topic(DEAD_LETTERS, (events.DeadLetter, events.DeadLetterSettled), retention_ms=90 * DAY_MS, encoding="json"),
        Topic(COSTS_ROLLUPS, (events.RollupChanged,), cleanup="compact"),
        Topic(AGENT_HEALTH, (events.AgentHealth,), cleanup="compact", encoding="json"),
        Topic(ALERTS, (events.Alert,), retention_ms=30 * DAY_MS, encoding="json"),
        Topic(BUDGET_NOTICES, (events.BudgetNoticed,), retention_ms=40 * DAY_MS, encoding="json", single_partition=True),
        *(Topic(name, (), cleanup="compact", encoding="state") for name in LEDGER_STATE),
        Topic(CONVERSATION_STATE, (), cleanup="compact", encoding="state"),
        Topic(INTAKE_POSITIONS, (), cleanup="compact", encoding="state", single_partition=True),
        *(Topic(journal_of(name), (), cleanup="compact", encoding="state") for name in dict.fromkeys(TASK_TOPICS.values())),
    )
}
