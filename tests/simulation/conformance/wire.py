"""Requests as a broker gets them, one at a time: what both brokers are asked through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Pairs = Sequence[tuple[bytes | None, bytes | None]]


class Wire(Protocol):
    """One topic of one partition or more, and groups of one's own. Errors are raised as aiokafka's classes.

    What the broker asks to try again later (ConcurrentTransactions) is tried again.
    """

    compacts: bool
    """Whether `compact` can be asked for."""

    def group(self, name: str = "group") -> str:
        """A group nobody else has."""
        ...

    def transactional_id(self, name: str = "id") -> str: ...

    async def init(self, transactional_id: str | None = None) -> tuple[int, int]: ...
    async def add_partitions(self, transactional_id: str, pid: int, epoch: int, partitions: Sequence[int] = (0,)) -> None: ...
    async def add_offsets(self, transactional_id: str, pid: int, epoch: int, group: str) -> None: ...
    async def commit_offset_in_transaction(
        self, transactional_id: str, pid: int, epoch: int, group: str, offset: int
    ) -> None: ...
    async def end(self, transactional_id: str, pid: int, epoch: int, *, commit: bool) -> None: ...
    async def produce(
        self, pid: int, epoch: int, sequence: int, pairs: Pairs, *, transactional_id: str | None = None, partition: int = 0
    ) -> int: ...

    async def read(self, *, committed: bool, start: int = 0, partition: int = 0) -> tuple[list[tuple[int, bytes | None]], int]:
        """(offset, value) of what a consumer gets up to the end it may see, and its position then."""
        ...

    async def bounds(self, *, committed: bool) -> tuple[int, int]:
        """The first offset, and the end a consumer sees."""
        ...

    async def committed(self, group: str) -> int | None: ...
    async def settled(self, transactional_id: str) -> None:
        """Returns when the markers of the last transaction are written everywhere."""
        ...

    async def join(self, group: str, member: str = "", instance: str | None = None) -> Joined: ...
    async def sync(self, group: str, joined: Joined) -> tuple[int, ...]:
        """The member's partitions."""
        ...

    async def heartbeat(self, group: str, joined: Joined) -> None: ...
    async def leave(self, group: str, joined: Joined) -> None: ...
    async def commit(self, group: str, member: str, generation: int, offset: int) -> None: ...
    async def compact(self) -> None:
        """Returns when the topic has been compacted."""
        ...

    async def delete_before(self, offset: int) -> None: ...


class Joined:
    """A member of a generation."""

    def __init__(self, member: str, generation: int, leader: bool, members: Mapping[str, Any]) -> None:
        self.member, self.generation, self.leader, self.members = member, generation, leader, members
