"""What a partition has around it: where its records come from, and what all partitions of a runtime share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol

from aiokafka import TopicPartition

from streams.runtime.begun import Begin
from streams.runtime.model import DeadLetter, Fenced, Processor, RuntimeSettings, S
from streams.runtime.publisher import Publisher
from streams.runtime.store import StateStore

if TYPE_CHECKING:
    from streams.runtime.partition import PartitionOwner


class Source(Protocol):
    """Where a partition's records come from (the group member)."""

    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def pause(self, partition: TopicPartition) -> None: ...
    def resume(self, partition: TopicPartition) -> None: ...
    def handled(self, partition: TopicPartition, position: int) -> None: ...
    def lighter(self, partition: TopicPartition, offset: int, size: int) -> None: ...
    def end(self, partition: TopicPartition) -> int | None: ...
    def early(self, partition: TopicPartition, begin: Begin[Any] | None) -> None: ...
    async def committed(self, partition: TopicPartition) -> int | None: ...
    async def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]: ...


Restore = Callable[[StateStore[Any]], Awaitable[int]]
"""Reads what the store does not have yet; returns the changelog's end."""


@dataclass(slots=True)
class Surroundings(Generic[S]):
    """What all partitions of a runtime share."""

    settings: RuntimeSettings
    processor: Processor[S]
    publisher: Publisher
    dead_letter: DeadLetter
    source: Source
    opened: Callable[[PartitionOwner[S]], None]
    lost: Callable[[PartitionOwner[S], Fenced], None]
    failed: Callable[[BaseException], None]
