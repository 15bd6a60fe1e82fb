"""Events and outputs of played conversations as they lie on one partition of the log."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from schemas.base import Event
from schemas.codec import encode
from schemas.events.workflow import Decided
from schemas.topics import CONVERSATION_EVENTS, WORKFLOW_EVENTS
from streams.replay.verification import Counts, Verification
from streams.runtime import Record
from tests.support.play import Play


def lying(topic: str, events: Iterable[Event], *, start: int = 0) -> list[Record]:
    """The events as the records of partition 0, from this offset on."""
    made = []
    for offset, event in enumerate(events, start):
        value, headers = encode(event)
        made.append(Record(topic, 0, offset, event.time_ms, event.key.encode(), value, headers))
    return made


def events_of(play: Play) -> list[Record]:
    return lying(CONVERSATION_EVENTS, play.history)


def outputs_of(play: Play) -> list[Record]:
    return lying(WORKFLOW_EVENTS, [output for output in play.outputs if isinstance(output, Decided)])


def renumbered(records: Iterable[Record]) -> list[Record]:
    return [replace(record, offset=offset) for offset, record in enumerate(records)]


def check(verification: Verification, events: Iterable[Record], outputs: Iterable[Record]) -> Counts:
    for record in events:
        verification.event(record)
    for record in outputs:
        verification.output(record)
    verification.end()
    return verification.counts
