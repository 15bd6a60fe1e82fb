"""What a node worker is asked to do."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.base import Event, JsonObject, MicroUsd, Millis, Personal


class NodeTask(Event):
    """One attempt of one node. Keyed by execution id, so that attempts of one node meet the same worker and journal."""

    TYPE: ClassVar[str] = "hil.node.task"

    run_id: str
    node_id: str
    execution_id: str
    """uuid5 over run and node: the same for all attempts."""
    attempt: int
    """From 1."""
    epoch: int
    agent: str
    agent_type: str = "simple"
    workflow: str
    digest: str
    ordinal: int
    """Place of the message being answered in the conversation, from 1; history is what has a smaller one."""
    input: Annotated[JsonObject, Personal()]
    context: Annotated[JsonObject, Personal()]
    outputs: Annotated[JsonObject, Personal()]
    """Outputs of the finished nodes this node can see: those its text names, and its direct predecessors."""
    finished: list[str] = Field(default_factory=list)
    """Every node that has run so far, in order."""
    deadline_ms: Millis | None = None
    """Of older tasks, whose time limits counted from when they were asked for. Nobody keeps to it."""
    earlier: int | None = None
    """How many messages and answers of the conversation come before `ordinal`. None in older tasks: all from 1."""
    budget_micro_usd: MicroUsd | None = None
    """What all attempts of this node together may spend; None: as much as it takes."""
    conversation_cost_micro_usd: MicroUsd = 0
    """What the conversation had spent when this was asked for. Only where there is a budget."""
    announce: bool = False
    """Whether to say `hil.node.begun` when work on it begins, because a time limit counts from there."""

    @property
    def key(self) -> str:
        return self.execution_id
