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
from streams.deadletters import dead_letter
from streams.runtime import Outgoing, Record

_log = logging.getLogger(__name__)

Partition = tuple[str, int]
"""Topic and partition number."""

PROJECTED = (
    topics.WORKFLOW_EVENTS,
    topics.ROUTING_DECISIONS,
    topics.ACTION_USAGE,
    topics.HUMAN_TASKS,
    topics.DEAD_LETTERS,
    topics.WORKFLOW_DEFINITIONS,
    topics.COSTS_ROLLUPS,
    topics.AGENT_HEALTH,
    topics.ALERTS,
)
"""What is copied."""
COMPACTED = frozenset(topic for topic in PROJECTED if topics.TOPICS[topic].cleanup == "compact")


Rejected = Callable[[Event, str], Awaitable[None]]
"""(event, reason in words): the store can never hold it."""


class Projection(Protocol):
    """A store that people read."""

    async def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Take the partitions over from any earlier owner; the offset to go on at, for each that has been begun."""
        ...

    async def apply(self, events: Sequence[Event], positions: Mapping[Partition, int], *, rejected: Rejected) -> None:
        """Write what the events say and move the positions, in one transaction. The same events again change nothing.

        An event the store can never hold is told to `rejected` before the transaction ends, and left out.
        Raises when another owner has taken one of the partitions, and when the store cannot be reached; then nothing was written.
        """
        ...


Send = Callable[[Sequence[Outgoing]], Awaitable[None]]


class Projector:
    """A batch processor for streams.runtime: it owns its positions and handles records by the thousand.

    A record that cannot be shown is passed: it goes to dead letters through `send` before the position moves past it,
    or only into the process's own log without one.
    """

    def __init__(self, projection: Projection, *, send: Send | None = None, name: str = "hil.projector") -> None:
        self._projection = projection
        self._send = send
        self._name = name
        self._next: dict[Partition, int] = {}

    async def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Where to go on, for each partition that has been begun; the others start at their beginning."""
        positions = await self._projection.positions(partitions)
        self._next |= dict.fromkeys(partitions, 0) | dict(positions)
        return positions

    async def handle(self, records: Sequence[Record]) -> None:
        """Records of any of our partitions, each partition's in the order of its offsets."""
        events: list[Event] = []
        origins: dict[int, Record] = {}
        positions: dict[Partition, int] = {}
        for record in records:
            partition = record.topic, record.partition
            if record.offset < positions.get(partition, self._next[partition]):
                continue  # fetched before a rebalance, and applied since
            positions[partition] = record.offset + 1
            if record.value is None and record.topic in COMPACTED:
                continue  # a tombstone of a compacted topic says nothing new to people
            try:
                event = decode(record.value, record.headers)
            except Undecodable as error:
                await self._pass_over(record, error.code, error.reason)
                continue
            events.append(event)
            origins[id(event)] = record
        if not positions:
            return

        async def reject(event: Event, reason: str) -> None:
            await self._pass_over(origins[id(event)], "not_projectable", reason)

        await self._projection.apply(events, positions, rejected=reject)
        self._next |= positions

    async def _pass_over(self, record: Record, code: str, reason: str) -> None:
        # What is wrong with a dead letter must not become a dead letter: it would be read here again, and again.
        if self._send is not None and record.topic != topics.DEAD_LETTERS:
            await self._send([dead_letter(record, self._name, code, reason, 1)])
        else:
            _log.warning("%s-%d-%d is not shown: %s", record.topic, record.partition, record.offset, reason)
