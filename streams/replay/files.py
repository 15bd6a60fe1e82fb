"""Verification of recorded histories: no broker, no clock, the same answer each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from schemas.codec import Undecodable, decode
from schemas.events import DeadLetter, WorkflowPublished
from schemas.topics import CONVERSATION_EVENTS, DEAD_LETTERS, WORKFLOW_DEFINITIONS, WORKFLOW_EVENTS
from streams.core.graph import Graph
from streams.definitions import Definitions
from streams.replay.history import History
from streams.replay.verification import Counts, Lying, Verification
from streams.runtime import Record
from streams.wire import incoming

CONVERSATIONS = "hil.conversations"
"""The processor whose decisions are verified: its consumer group, and its name in dead letters."""


def verify_history(history: History, *, note: Callable[[str], None] = lambda line: None) -> Counts:
    """Fold each partition of a history. Raises Differs at the first difference of the first partition that has one.

    `note` is told what was passed over.
    """
    graphs, _ = graphs_of(history.of(WORKFLOW_DEFINITIONS))
    dead = buried(history.of(DEAD_LETTERS))
    events, outputs = _partitions(history.of(CONVERSATION_EVENTS)), _partitions(history.of(WORKFLOW_EVENTS))
    total = Counts()
    for partition in sorted(events.keys() | outputs.keys()):
        verification = Verification(graphs, complete=True, dead=dead)
        for record in events.get(partition, ()):
            verification.event(record)
        for record in outputs.get(partition, ()):
            verification.output(record)
        verification.end()
        total.add(verification.counts)
        for line in verification.notes:
            note(line)
    return total


def graphs_of(records: Iterable[Record]) -> tuple[Mapping[str, Graph], list[str]]:
    """Digest → graph of every definition that compiles today, and in words those that do not."""
    definitions, faults = Definitions(), []
    for record in records:
        if record.value is None:
            continue
        try:
            definitions.add(incoming(record, WorkflowPublished), key=record.key)
        except (Undecodable, ValueError) as fault:
            faults.append(f"{record.topic}-{record.partition}@{record.offset} is no usable workflow today: {fault}")
    return definitions.graphs, faults


def buried(letters: Iterable[Lying]) -> frozenset[tuple[int, int]]:
    """(partition, offset) of the events that their processor sent to dead letters instead of deciding about them."""
    found = set()
    for letter in letters:
        if CONVERSATION_EVENTS.encode() not in (letter.value or b""):
            continue
        with suppress(Undecodable):
            event = decode(letter.value, letter.headers)
            if isinstance(event, DeadLetter) and (event.topic, event.processor) == (CONVERSATION_EVENTS, CONVERSATIONS):
                found.add((event.partition, event.offset))
    return frozenset(found)


def _partitions(records: Iterable[Record]) -> Mapping[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record)
    return found
