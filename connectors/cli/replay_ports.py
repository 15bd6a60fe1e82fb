"""What `hil replay`, `hil rebuild` and `hil dead-letters` need of the rest of the system. streams/app implements it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from connectors.cli.ports import Report, Seen


@dataclass(frozen=True, slots=True)
class Period:
    """Part of a topic, half open. Places are texts as `streams.replay.place` reads them."""

    topic: str
    start: str = "earliest"
    end: str = "latest"
    partitions: tuple[int, ...] = ()
    """All of them when empty."""
    key: str | None = None
    conversation: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A record of a period."""

    seen: Seen
    value: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    counts: Mapping[str, int]
    seconds: float
    difference: str | None
    """The first one, for a person; None when there is none."""
    details: Mapping[str, Any] | None = None
    """The same, for a program."""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters. Everything that is given must hold."""

    ids: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()
    conversation: str | None = None
    start: str | None = None
    end: str | None = None
    settled: bool | None = False
    """False: open ones; True: those dealt with; None: both."""


@dataclass(frozen=True, slots=True)
class LetterRow:
    """One letter, without its payload."""

    id: str
    buried_ms: int
    processor: str
    code: str
    reason: str
    topic: str
    partition: int
    offset: int
    key: str | None
    conversation: str
    attempts: int
    size: int
    retry_of: str | None
    settled: Mapping[str, Any] | None = None
    """action, by, note, time_ms of what became of it."""


@dataclass(frozen=True, slots=True)
class LettersSettled:
    done: Sequence[LetterRow]
    impossible: Sequence[tuple[LetterRow, str]] = field(default_factory=tuple)
    """Letters that stay open, and why."""


class Replays(Protocol):
    def view(self, period: Period, note: Report, *, follow: bool = False) -> AbstractAsyncContextManager[AsyncIterator[Found]]:
        """The records in the order of time; with `follow` also those to come. `note` is told what retention has cut."""
        ...

    async def verify(
        self, start: str, *, partitions: Sequence[int], limit: int | None, processes: int | None, progress: Report
    ) -> Verified: ...

    def verify_file(self, path: str) -> Verified: ...

    async def record(
        self, path: str, *, conversations: Sequence[str], workflow: str | None, limit: int | None
    ) -> Mapping[str, int]:
        """Write a history; `conversations`, `records`, `left_out` and `unreadable` say what is in it and what is not."""
        ...

    async def republish(
        self, period: Period, target: str, *, confirmed: str | None, create: bool, dry_run: bool, note: Report
    ) -> Mapping[str, Any]:
        """`records`, `bytes` and `replay_id`. With `create` a missing target is made, with the partitions of the source."""
        ...

    async def rerun(
        self, run_id: str, node: str, *, conversation: str | None, by: str, dry_run: bool, wait_seconds: float | None
    ) -> Mapping[str, Any]:
        """`run_id`, `request`, and the new run's `response` when it was waited for."""
        ...

    async def restore(self, conversation: str, *, forget: bool, dry_run: bool) -> Mapping[str, int]:
        """Write the state of a conversation anew; `partition`, `events`, `messages` and open `letters` say what it is made of."""
        ...

    async def rebuild(self, *, accept_loss: bool, report: Report) -> Mapping[str, Any]:
        """`records`, `seconds` and `taken_over`. Raises CannotGoOn when rows would be lost for good."""
        ...

    async def letters(self, wanted: LetterFilter, note: Report = ...) -> list[LetterRow]:
        """`note` is told of records on the topic that are no letters."""
        ...

    async def letter(self, letter_id: str) -> tuple[LetterRow, Mapping[str, Any]]:
        """A letter and the whole event, its payload decoded as far as it can be under `payload`."""
        ...

    async def settle_letters(
        self, action: Literal["retry", "discard"], wanted: LetterFilter, *, by: str, note: str, dry_run: bool
    ) -> LettersSettled: ...
