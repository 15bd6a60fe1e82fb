"""Copies the log into a store for people to read. The store holds the position, so a batch is written once or not at all.

Never decides anything: what it writes can be made again from the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from schemas import topics
from schemas.base import Event
from schemas.codec import Undecodable, decode
from streams.runtime.model import Record

_log = logging.getLogger(__name__)

Partition = tuple[str, int]
"""Topic and partition number."""

TOPICS = (
    topics.WORKFLOW_EVENTS,
    topics.ROUTING_DECISIONS,
    topics.ACTION_USAGE,
    topics.HUMAN_TASKS,
    topics.DEAD_LETTERS,
    topics.WORKFLOW_DEFINITIONS,
)
"""What is copied."""


Rejected = Callable[[Event, str], Awaitable[None]]
"""(event, reason in words): the store can never hold it."""


class Projection(Protocol):
    """A store that people read."""

    async def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Take the partitions over from any earlier owner; the offset to go on at, for each."""
        ...

    async def apply(self, events: Sequence[Event], positions: Mapping[Partition, int], *, rejected: Rejected) -> None:
        """Write what the events say and move the positions, in one transaction. The same events again change nothing.

        An event the store can never hold is told to `rejected` before the transaction ends, and left out.
        Raises when another owner has taken one of the partitions, and when the store cannot be reached; then nothing was written.
        """
        ...


Skipped = Callable[[Record, str, str], Awaitable[None]]
"""(record, code, reason in words): a record that is passed without being shown. Awaited before the position moves past it."""


class Projector:
    """A batch processor for streams.runtime: it owns its positions and handles records by the thousand."""

    def __init__(self, projection: Projection, *, skipped: Skipped) -> None:
        self._projection = projection
        self._skipped = skipped

    async def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return await self._projection.positions(partitions)

    async def handle(self, records: Sequence[Record]) -> None:
        """Records of any of our partitions, each partition's in the order of its offsets."""
        events: list[Event] = []
        origins: dict[int, Record] = {}
        positions: dict[Partition, int] = {}
        for record in records:
            positions[record.topic, record.partition] = record.offset + 1
            if record.value is None:
                continue  # a tombstone of a compacted topic says nothing new to people
            try:
                event = decode(record.value, record.headers)
            except Undecodable as error:
                await self._skip(record, error.code, error.reason)
                continue
            events.append(event)
            origins[id(event)] = record
        if not positions:
            return

        async def reject(event: Event, reason: str) -> None:
            await self._skip(origins[id(event)], "not_projectable", reason)

        await self._projection.apply(events, positions, rejected=reject)

    async def _skip(self, record: Record, code: str, reason: str) -> None:
        if record.topic == topics.DEAD_LETTERS:
            # What is wrong with a dead letter must not become a dead letter: it would be read here again, and again.
            _log.warning("dead letter %s-%d-%d is not shown: %s", record.topic, record.partition, record.offset, reason)
        else:
            await self._skipped(record, code, reason)
