"""What a processor and the runtime say to each other: records in, outputs and state out, and how either may refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec

from schemas.codec.errors import Undecodable
from streams.runtime.broker.arrived import ARRIVED_BYTES
from streams.runtime.patience import BROKER_S

KEY_SHOWN = 100
"""Characters of a key in words."""
MAX_STATE_BYTES = 6 * 1024 * 1024
S = TypeVar("S")
Until = Callable[[], Awaitable[Any]]
"""Waits for something; begun when its record is set aside."""
S_co = TypeVar("S_co", covariant=True)

__all__ = [
    "DeadLetter",
    "Fenced",
    "Outgoing",
    "PartitionView",
    "Processor",
    "Record",
    "RuntimeFailed",
    "RuntimeSettings",
    "SetAside",
    "StateCodec",
    "StateTooLarge",
    "Step",
    "TooLarge",
    "Unavailable",
    "Undecodable",
    "Unreadable",
    "UnreadableState",
    "Unwritable",
]


class RuntimeFailed(Exception):
    """Broker or topics are not as needed. Nothing was skipped: start the process again once the cause is gone."""


class Fenced(Exception):
    """Another owner has taken this partition over. Start nothing more in its name: the record will be handled there."""


class Interrupted(Fenced):
    """The producer of a partition has failed though nobody has taken the partition over: it may be opened again at once."""


class Unavailable(Exception):
    """A handler raises it when something every record needs (a database, say) is gone: the process stops, no record is passed."""


class SetAside(Exception):
    """A handler raises it when its record must wait for something that others need not, before it has published or put anything.

    The record and those of its key that come after it are handled once `until` has ended; all others go on. What `until` raises
    is the partition's failure.
    """

    def __init__(self, until: Until) -> None:
        super().__init__("the record waits")
        self.until = until


class UnreadableState(Undecodable):
    """A changelog has something under this key that is no state. It never counts as none: what was done would be done again."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__("state_unreadable", f"the state of {key[:KEY_SHOWN]!r} cannot be read: {why}")
        self.why = why
        """What lies there, and how reading it failed."""


class Unwritable(ValueError):
    """No topic takes it, however often it is tried: the record that led to it goes to dead letters, the others go on."""

    def __init__(self, reason: str, code: str = "unwritable") -> None:
        super().__init__(reason)
        self.code = code


class TooLarge(Unwritable):
    """A record exceeds what topics accept."""

    def __init__(self, reason: str, code: str = "output_too_large") -> None:
        super().__init__(reason, code)


class StateTooLarge(TooLarge):
    """A state exceeds what its changelog accepts, or this processor's bound. The one before it stays."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "state_too_large")


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as read from a topic. A struct, like Outgoing, because a frozen dataclass takes ten times as long to make."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Unreadable(Record, frozen=True, gc=False):
    """Stands for records that nobody can read, at the last of their offsets. Goes to dead letters without being handled."""

    reason: str = ""


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One record to write. Without a partition the key's murmur2 hash decides, as in the Java client."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class StateCodec(Protocol[S]):
    """State ⇄ changelog value."""

    def encode(self, state: S) -> bytes: ...

    def decode(self, data: bytes) -> S: ...


class Step(Protocol[S]):
    """One record being handled. States are values: never change one in place.

    With `concurrency` > 1 a state may only be read and changed by records of one record key, because only those are in order.
    """

    partition: int

    @property
    def waited(self) -> bool:
        """Whether this record was set aside before, and what it waited for has ended."""
        ...

    def get(self, key: str) -> S | None:
        """The state as of all earlier records of this partition, and of this step's own puts. Raises UnreadableState."""
        ...

    def put(self, key: str, state: S | None) -> None:
        """Takes effect when the handler returns; durable in the transaction that moves the position past this record.

        None deletes. Raises StateTooLarge, or Unwritable for a state or key that cannot be written, at once.
        """
        ...

    def publish(self, out: Outgoing) -> None:
        """Sent when the handler returns, or as soon as its next journal entry is durable.

        So a handler that raises has published nothing since its last journal entry. Raises TooLarge at once.
        """
        ...

    def tell(self, out: Outgoing) -> None:
        """Sent at once, whatever becomes of the handler: for what has happened outside and stays true. Raises TooLarge."""
        ...

    async def told(self) -> None:
        """Wait until what was told is durable. Asks nobody when nothing was told; never returns once the publisher has failed."""
        ...

    def ahead(self) -> None:
        """What this step puts is durable soon after the handler has returned, and does not wait for the records before this one.

        Only for states that answer the record when it comes again.
        """
        ...

    async def journal(self, key: str, state: S | None, *, spare: int = 0) -> None:
        """Make the state durable now, ahead of the position. Raises Fenced when this owner has lost the partition.

        Raises StateTooLarge as `put`, and when less than `spare` bytes would be left for what is to follow.
        """
        ...

    async def act(self) -> None:
        """Something begins that should not be cut off in its midst: a rebalance waits for it. Waits while one is on already.

        It is over with `acted`, or with the handler.
        """
        ...

    def acted(self) -> None: ...


class PartitionView(Protocol[S_co]):
    """A partition that is ours, between its records."""

    topic: str
    partition: int

    def get(self, key: str) -> S_co | None: ...

    def items(self) -> Iterable[tuple[str, S_co]]:
        """Every state of the partition that can be read. Decodes them all: for `opened`, not for every record."""
        ...

    def publish(self, out: Outgoing) -> None:
        """Send outside a record (timers). Not tied to any position; a failed send stops the process."""
        ...


class Processor(Protocol[S]):
    """Handles records. May also have `opened(view: PartitionView[S])`, called after restore and before the first record,
    and `closed(partition: int)`, called once no handler of the partition runs any more.
    """

    async def handle(self, record: Record, step: Step[S]) -> None:
        """Raises Undecodable to send the record to dead letters, Unavailable to stop the process, SetAside to be asked later.

        All else is tried again.
        """
        ...


DeadLetter = Callable[[Record, str, str, str, int], Outgoing]
"""(record, processor, code, reason, attempts) → the record for dead letters."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How one processor is run."""

    bootstrap: str
    group: str
    """Consumer group; also the processor's name in dead letters and the prefix of its transactional ids."""
    topics: tuple[str, ...]
    changelogs: Mapping[str, str] = field(default_factory=dict)
    """Source topic → compacted topic with as many partitions. Empty: stateless."""
    positions: str = ""
    """Without changelogs: the compacted topic where its positions are kept beside the group's own offsets; empty: nowhere."""
    client_id: str = "hil"
    instance: str | None = None
    """Static membership (KIP-345): who comes back under this name gets its partitions back at once, and nobody else has to move.
    The price: who stops is missed only after the session timeout. One living process may have the name, in each group."""
    standby: bool = False
    """Read along the changelogs of partitions that others own, so that taking one over reads only what was missed."""
    standby_bytes: int = 512 * 1024 * 1024
    """The most that may be kept of them, all together; beyond it the largest is given up."""
    concurrency: int = 1
    """Records of one partition handled at once. 1: strictly in order. More: in order per key, across keys at once."""
    early: bool = False
    """Begin records that this process writes to itself while they are on their way to the broker. For processors that journal
    what must not happen twice, and where nothing depends on the order of different keys."""
    max_in_flight: int = 1000
    """Records of a partition past its watermark; beyond it no further one starts and fetching pauses."""
    commit_interval_s: float = 0.5
    commit_soon_s: float = 0.05
    """For what goes ahead: at least so long after the handler has returned,…"""
    commit_spacing_s: float = 0.2
    """…and so long after the commit before."""
    commit_every: int = 1000
    """Records, after which a commit does not wait for its interval."""
    drain_deadline_s: float = 20.0
    """How long handlers may go on after revocation or stop. Those still at work then are cancelled; their records come again."""
    action_patience_s: float = 5.0
    """How long a rebalance waits for what a handler has announced with `act`. After that nobody knows whether it was done."""
    rebalance_patience_s: float = 0.6
    """How long a rebalance waits for begun records. After that, those of partitions that stay here go on; the others come again
    at their new owner. Partitions of a member that died stand still meanwhile."""
    session_timeout_ms: int = 3_000
    """How soon the group notices that a member is gone. Where `group.min.session.timeout.ms` forbids it, 6 s."""
    heartbeat_interval_ms: int = 200
    """Also how soon the others hear of it."""
    max_attempts: int = 3
    """How often a record is handled before an exception of its handler sends it to dead letters."""
    retry_backoff_s: float = 0.1
    """Before the second attempt; doubles with each further one."""
    broker_patience_s: float = BROKER_S
    """How long no broker may answer, or a record or a commit not be accepted, before the process stops."""
    arrived_bytes: int = ARRIVED_BYTES
    """Of records that have arrived and are not done with; where members of a process share a Fetching, that has the bound."""
    max_message_bytes: int = 8 * 1024 * 1024
    max_state_bytes: int = MAX_STATE_BYTES
    """Of one state with its key. Well below what a changelog accepts: what is refused here would stop every commit there."""

    def __post_init__(self) -> None:
        if not self.topics:
            raise ValueError(f"processor {self.group} reads no topic: give at least one")
        if self.changelogs and set(self.changelogs) != set(self.topics):
            raise ValueError(
                f"processor {self.group}: a stateful processor has one changelog for each of its topics {self.topics}"
            )
        if self.concurrency < 1 or self.max_in_flight < 1 or self.max_attempts < 1 or self.commit_every < 1:
            raise ValueError(f"processor {self.group}: concurrency, max_in_flight, max_attempts and commit_every are at least 1")
