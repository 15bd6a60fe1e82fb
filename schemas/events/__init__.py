"""Every event, and the topic it travels on."""

from schemas.events.conversation import (
    CancelRequested,
    MessageReceived,
    NodeBegun,
    NodeCompleted,
    Outcome,
    RerunRequested,
    ReusedNode,
    TimerFired,
)
from schemas.events.customer import CustomerResponse, InboundMessage, TraceEntry
from schemas.events.ledger import AgentHealth, Alert, BudgetNoticed, RollupChanged
from schemas.events.operations import DeadLetter, DeadLetterSettled, HumanTask, WorkflowPublished
from schemas.events.task import NodeTask
from schemas.events.usage import ActionUsed, ModelCalled
from schemas.events.workflow import (
    ConversationExpired,
    MessageSetAside,
    NodeFinished,
    NodeRequested,
    NodeStatus,
    RunFinished,
    RunStarted,
)

__all__ = [
    "ActionUsed",
    "AgentHealth",
    "Alert",
    "BudgetNoticed",
    "CancelRequested",
    "ConversationExpired",
    "CustomerResponse",
    "DeadLetter",
    "DeadLetterSettled",
    "HumanTask",
    "InboundMessage",
    "MessageReceived",
    "MessageSetAside",
    "ModelCalled",
    "NodeBegun",
    "NodeCompleted",
    "NodeFinished",
    "NodeRequested",
    "NodeStatus",
    "NodeTask",
    "Outcome",
    "RerunRequested",
    "ReusedNode",
    "RollupChanged",
    "RunFinished",
    "RunStarted",
    "TimerFired",
    "TraceEntry",
    "WorkflowPublished",
]
