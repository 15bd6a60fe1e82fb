"""What the reducer decided, as an audit trail: enough to see why an answer was given, and to check it again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from schemas.base import Event, JsonObject, MicroUsd, Millis, Personal, PersonalJson, PersonalText


class NodeStatus(StrEnum):
    """How a node of a run ended. Each ended node has exactly one."""

    EXECUTED = "executed"
    SKIPPED = "skipped"
    FAILED = "failed"


class Decided(Event):
    """A decision of the reducer. `cause_id` is the event that led to it."""

    cause_id: str
    run_id: str


class RunStarted(Decided):
    TYPE: ClassVar[str] = "hil.run.started"

    message_id: str
    ordinal: int
    text: PersonalText
    workflow: str
    version: str
    digest: str
    customer_id: PersonalText | None = None
    customer_email: PersonalText | None = None
    context: Annotated[JsonObject, Personal()] = Field(default_factory=dict)
    input: Annotated[JsonObject, Personal()] = Field(default_factory=dict)
    received_ms: Millis = 0
    rerun_of: str | None = None
    """The run whose message is answered again. `ordinal` is then that of the message, as it was."""
    rerun_from: str | None = None
    """The first node that is not taken over from that run."""


class NodeRequested(Decided):
    TYPE: ClassVar[str] = "hil.node.requested"

    node_id: str
    execution_id: str
    agent: str
    attempt: int


class NodeFinished(Decided):
    """The node's one end. Edges left over by it are decided in the same step."""

    TYPE: ClassVar[str] = "hil.node.finished"

    node_id: str
    status: NodeStatus
    agent: str = ""
    """Who worked on it: the definition's, or the one that stood in while that was unhealthy."""
    agent_type: str = ""
    attempt: int = 0
    output: PersonalJson = None
    error: str | None = None
    reason: str | None = None
    """Why it was skipped or failed, in words."""
    cost_micro_usd: MicroUsd = 0
    input_text_tokens: int = 0
    output_text_tokens: int = 0
    duration_ms: Millis = 0
    models: list[str] = Field(default_factory=list)
    tools: list[str] = Field(default_factory=list)
    steps: PersonalJson = None
    fault: str = ""
    """As the completion that ended it has it: what a failure speaks of, when it says nothing about the agent."""


class RunFinished(Decided):
    TYPE: ClassVar[str] = "hil.run.finished"

    message_id: str
    ordinal: int
    """Place of the response in the conversation, one after its message."""
    workflow: str
    version: str
    status: str
    text: PersonalText
    error: str | None = None
    cost_micro_usd: MicroUsd = 0
    duration_ms: Millis = 0
    executed: list[str] = Field(default_factory=list)
    skipped: list[str] = Field(default_factory=list)
    failed: list[str] = Field(default_factory=list)
    state_digest: str | None = None
    """Of everything the run had come to when it ended; see streams.core.digest. Lets a replay compare states, not only words."""


class ConversationExpired(Decided):
    """Nothing had happened for long, and what was remembered of the conversation is gone. `run_id` is `-`."""

    TYPE: ClassVar[str] = "hil.conversation.expired"

    idle_ms: Millis
    """When it became idle."""
    ordinal: int
    """Of its last message or answer."""


class MessageSetAside(Decided):
    """A message that did not start a run at once, or an event that came too late or twice. Nothing disappears."""

    TYPE: ClassVar[str] = "hil.message.set_aside"

    reason: str
    """`queued`, `repeated`, `refused` (the queue is full), `stale` (its run or epoch is over)."""
    message_id: str | None = None
    node_id: str | None = None
