"""What the terminal needs from the rest of the system. streams/app.py implements these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Report = Callable[[str], None]
"""Takes one line that tells a person what is going on."""


class CannotGoOn(Exception):
    """The command cannot do what was asked. The message says what to type instead."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A record on its way past, decoded as far as it can be."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str | None
    type: str | None
    """CloudEvents type, when it has one."""
    body: Any
    """The JSON value; a text when it could not be decoded."""
    size: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts of a running system are."""

    kafka_bootstrap: str
    database_url: str
    llm_base_url: str
    composio_base_url: str
    data: str
    pid: int
    stand_in: bool = True
    """True when the rehearsal model answers, not a real one."""


class Gateway(Protocol):
    """A running system."""

    @property
    def addresses(self) -> Addresses: ...

    async def send(self, topic: str, records: Sequence[tuple[str | None, bytes]]) -> None:
        """Put (key, value) records on a topic; returns when the broker has them all."""
        ...

    def tail(
        self, topics: Sequence[str], *, start: Literal["latest", "earliest"] | int = "latest", until_end: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[Seen]]:
        """Records of these topics as they come. `start` may be a time in ms. Inside the context nothing sent is missed."""
        ...


@dataclass(frozen=True, slots=True)
class PublishedWorkflow:
    name: str
    version: str
    digest: str
    nodes: int
    published_ms: int
    deprecated: bool
    warnings: tuple[str, ...] = ()
    """What its author should look at, when it has just been published."""


class System(Protocol):
    """Everything a command can ask for."""

    def started(self, report: Report) -> AbstractAsyncContextManager[Gateway]:
        """Start everything that is not configured elsewhere, all processors included, and stop it at the end."""
        ...

    def attached(self) -> AbstractAsyncContextManager[Gateway]:
        """Connect to what runs already. Raises CannotGoOn when nothing does."""
        ...

    async def serve(self, processors: Sequence[str], report: Report, ready: Callable[[], None]) -> None:
        """Run these processors until SIGINT or SIGTERM."""
        ...

    async def until_stopped(self, gateway: Gateway) -> None:
        """Return on SIGINT or SIGTERM; raise when a processor has stopped with an error."""
        ...

    async def cancel(self, conversation_id: str, run_id: str, *, reason: str) -> None:
        """Ask for the end of a run. What became of it is on customer.responses and workflow.events."""
        ...

    async def create_topics(self) -> list[str]: ...

    async def check_topics(self) -> list[str]: ...

    async def migrate(self) -> list[str]: ...

    async def publish_workflows(self, paths: Sequence[str]) -> list[PublishedWorkflow]: ...

    async def list_workflows(self) -> list[PublishedWorkflow]: ...

    def demo_messages(self) -> list[dict[str, Any]]:
        """The bundled messages, in the shape of `customer.messages`."""
        ...

    async def knowledge(
        self, action: Literal["add", "list", "search", "remove"], arguments: Mapping[str, Any]
    ) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Totals:
    """What a demo run adds up to."""

    sent: int = 0
    answered: int = 0
    dead: int = 0
    doubled: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.missing and not self.doubled
