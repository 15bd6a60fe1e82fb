"""What operators and colleagues see: dead letters, human tasks, published workflows."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.base import Event, Json, Millis, Personal, PersonalJson


class DeadLetter(Event):
    """A record nobody could handle, kept with its origin and the reason in words. `conversation_id` is empty when unknown."""

    TYPE: ClassVar[str] = "hil.dead.letter"

    processor: str
    topic: str
    partition: int
    offset: int
    code: str
    """For filters: `invalid_json`, `too_large`, `unknown_workflow`, …"""
    reason: str
    """For people: what is wrong with it, and what to do."""
    attempts: int = 1
    headers: dict[str, str] = Field(default_factory=dict)
    record_key: str | None = None
    payload_base64: Annotated[str, Personal()] = ""
    """The record's value, its first 262,144 bytes."""
    payload_bytes: int = 0
    """Size of the whole value."""

    @property
    def key(self) -> str:
        return self.record_key or f"{self.topic}-{self.partition}-{self.offset}"


class DeadLetterSettled(Event):
    """An operator has dealt with a dead letter. The letter itself stays where it is; this one has the same key."""

    TYPE: ClassVar[str] = "hil.dead.letter.settled"

    letter_id: str
    action: str
    """`retried` (its record was put on its topic once more) or `discarded` (nothing will be done about it)."""
    record_key: str
    by: str = ""
    note: str = ""
    topic: str = ""
    """Of the record."""

    @property
    def key(self) -> str:
        return self.record_key


class HumanTask(Event):
    """A person is needed: a node parked its run."""

    TYPE: ClassVar[str] = "hil.human.task"

    run_id: str
    node_id: str
    reason: str
    details: PersonalJson = None


class WorkflowPublished(Event):
    """One version of a workflow, on a compacted topic keyed name@digest. `conversation_id` is not used."""

    TYPE: ClassVar[str] = "hil.workflow.published"

    conversation_id: str = ""
    name: str
    version: str
    digest: str
    source: str
    """The YAML as its author wrote it."""
    definition: Json
    """The parsed definition, as schemas.workflow.definition.WorkflowDefinition dumps it."""
    agent_types: dict[str, str]
    """Agent name → simple | reasoning | code | supervisor, fixed when published, so that the reducer needs no registry."""
    deprecated: bool = False
    published_ms: Millis = 0

    @property
    def key(self) -> str:
        return f"{self.name}@{self.digest}"
