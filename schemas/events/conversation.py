"""Everything that happens to a conversation: one topic, one partition, one order."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Event, JsonObject, MicroUsd, Millis, Personal, PersonalJson, PersonalText


class MessageReceived(Event):
    """Intake admitted a message. `id` is uuid5 over conversation and message id; the workflow is pinned here, once."""

    TYPE: ClassVar[str] = "hil.message.received"

    message_id: str
    text: PersonalText
    workflow: str
    version: str
    digest: str
    """sha256 of the definition, so that everyone who handles the run reads the same one."""
    customer_id: PersonalText | None = None
    customer_email: PersonalText | None = None
    context: Annotated[JsonObject, Personal()] = Field(default_factory=dict)
    input: Annotated[JsonObject, Personal()] = Field(default_factory=dict)
    """Input fields beyond those of a message, for runs that are started with data rather than words."""
    origin: str = ""
    """topic-partition-offset of the record the customer wrote."""
    ordinal_base: int = 0
    """Where ordinals begin, should the conversation begin with this message: its first message has the next one. A time in ms,
    and so beyond every ordinal of a conversation of the same id that was forgotten."""
    produced_ms: Millis | None = None
    """When its record says that it was written, which is what its producer claims. For reports; nothing is decided by it."""
    rules: int = 0
    """Which rules its run follows, so that a replay decides it as it was decided: 0, those of before there were rules by number;
    1: conversations belong to customers, waiting messages and outputs are bounded in bytes, time limits begin with the work."""


class Outcome(StrEnum):
    """How one attempt of a node ended."""

    OK = "ok"
    RETRYABLE = "retryable"
    """May succeed later: attempted again, a bounded number of times."""
    PARK = "park"
    """Only a person can go on: a human task."""
    FATAL = "fatal"
    """Would fail again: the node has failed."""


class NodeCompleted(Event):
    """A node worker finished one attempt. `id` is uuid5 over the execution and its attempt."""

    TYPE: ClassVar[str] = "hil.node.completed"

    run_id: str
    node_id: str
    execution_id: str
    attempt: int
    epoch: int
    outcome: Outcome
    output: PersonalJson = None
    error: str | None = None
    """In words, for people: what failed, why, what to do."""
    cost_micro_usd: MicroUsd = 0
    input_text_tokens: int = 0
    output_text_tokens: int = 0
    duration_ms: Millis = 0
    models: list[str] = Field(default_factory=list)
    tools: list[str] = Field(default_factory=list)
    steps: PersonalJson = None
    """The agent's chain of thought, action and observation, as far as it keeps one."""
    retry_after_ms: Millis | None = None
    """The provider's own wish, honoured when it is longer than our back-off."""
    agent: str = ""
    """Who worked on it, when that is another than was asked for, because that one is unhealthy."""
    agent_type: str = ""
    """Of that one."""
    fault: str = ""
    """Of a failure that says nothing about the agent, what it does speak of: `preparation` (definition, template, memory, tools),
    `models`, `budget`, or `agents` (none is healthy). Empty: the agent's own."""


class NodeBegun(Event):
    """A node worker has taken up one attempt of a node whose task says `announce`: its time limit counts from here.

    Whoever takes the same task up again, after a crash, says so again, under an id of its own.
    """

    TYPE: ClassVar[str] = "hil.node.begun"

    run_id: str
    node_id: str
    execution_id: str
    attempt: int
    epoch: int
    waited_ms: Millis = 0
    """How long the task had waited for a worker, by the worker's clock."""


class TimerFired(Event):
    """A timer in the conversation's state came due, or its time to live is over. Time enters the reducer through this alone."""

    TYPE: ClassVar[str] = "hil.timer.fired"

    timer_id: str
    due_ms: Millis


class CancelRequested(Event):
    """Someone asked to end a run before it is done. Work in hand is let go; the customer is told."""

    TYPE: ClassVar[str] = "hil.run.cancel.requested"

    run_id: str
    reason: str = ""
    requested_by: str = ""


class ReusedNode(BaseModel):
    """How a node ended in the run that is run again, as `hil.node.finished` has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node_id: str
    status: str
    """`executed`, `skipped` or `failed`."""
    output: PersonalJson = None
    error: str | None = None
    reason: str | None = None


class RerunRequested(Event):
    """Someone asked for a new run of an old run's message, from one of its nodes on; what came before is not done again."""

    TYPE: ClassVar[str] = "hil.run.rerun.requested"

    rerun_of: str
    """The old run."""
    from_node: str
    """The first node to run again."""
    message_id: str
    ordinal: int
    """Place of the old run's message in the conversation."""
    text: PersonalText
    workflow: str
    version: str
    digest: str
    customer_id: PersonalText | None = None
    customer_email: PersonalText | None = None
    context: Annotated[JsonObject, Personal()] = Field(default_factory=dict)
    input: Annotated[JsonObject, Personal()] = Field(default_factory=dict)
    nodes: list[ReusedNode] = Field(default_factory=list)
    """The old run's nodes that do not come after `from_node`, in the order in which they ended."""
    requested_by: str = ""
    ordinal_base: int = 0
    """As in `hil.message.received`, like the next."""
    rules: int = 0
