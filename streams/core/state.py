"""What is remembered of a conversation between two events. Immutable; written to the changelog as it stands here.

Fields are encoded by position: add new ones at the end, with a default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from schemas.codec.positional import whole
from schemas.events import MessageReceived, RerunRequested
from schemas.ids import derive

SEEN_BYTES = 8
FIRST_FIELDS = 6
"""How many fields a conversation had when there were the fewest."""
SEEN_MESSAGES = 32
"""How many of a conversation's latest messages are known by id, so that a repeat of one is answered once."""


NOBODY = ""
"""The owner of a conversation that is shared. No customer has this id."""


class Token(StrEnum):
    """The one decision about an edge."""

    TAKEN = "t"
    SKIPPED = "s"
    FAILED = "f"


class Phase(StrEnum):
    """Where a node of a run stands. A node that is not in the run yet waits for its in-edges."""

    RUNNING = "r"
    WAITING = "w"
    """Between two attempts: a timer will ask again."""
    EXECUTED = "e"
    SKIPPED = "s"
    FAILED = "f"


OPEN = frozenset({Phase.RUNNING, Phase.WAITING})


class Reused(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A node of an old run whose end is taken over."""

    node_id: str
    phase: Phase
    output: Any = None
    error: str | None = None
    reason: str | None = None


class Rerun(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The run that is run again, and where from."""

    run_id: str
    node_id: str
    ordinal: int
    nodes: tuple[Reused, ...] = ()
    """In the order in which they ended. Emptied once the new run has taken them over."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The message a run answers, or one that waits for its turn."""

    event_id: str
    message_id: str
    text: str
    workflow: str
    version: str
    digest: str
    received_ms: int
    customer_id: str | None = None
    customer_email: str | None = None
    context: dict[str, Any] = {}
    input: dict[str, Any] = {}
    rerun: Rerun | None = None
    rules: int = 0
    """Which rules its run follows; see MessageReceived."""
    size: int = 0
    """Bytes, of one that has had to wait."""

    @classmethod
    def of(cls, event: MessageReceived | RerunRequested) -> Message:
        return cls(
            event.id,
            event.message_id,
            event.text,
            event.workflow,
            event.version,
            event.digest,
            event.time_ms,
            event.customer_id,
            event.customer_email,
            dict(event.context),
            dict(event.input),
            rerun_of(event) if isinstance(event, RerunRequested) else None,
            event.rules,
        )


ENDED = {"executed": Phase.EXECUTED, "skipped": Phase.SKIPPED, "failed": Phase.FAILED}
"""A node's status in events → its phase here."""


def rerun_of(event: RerunRequested) -> Rerun:
    nodes = tuple(Reused(node.node_id, ENDED[node.status], node.output, node.error, node.reason) for node in event.nodes)
    return Rerun(event.rerun_of, event.from_node, event.ordinal, nodes)


class NodeState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    phase: Phase
    attempt: int = 0
    output: Any = None
    error: str | None = None
    handled: bool = False
    """A failure that an `on: failure` edge took up."""
    parked: bool = False
    cost_micro_usd: int = 0
    duration_ms: int = 0
    models: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    size: int = 0
    """Bytes of its output and error; 0 where they are not bounded."""
    begun: bool = False
    """A worker has taken up this attempt. Only known where time limits begin with the work."""


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message on its way through one version of one workflow."""

    run_id: str
    message: Message
    ordinal: int
    started_ms: int
    nodes: dict[str, NodeState]
    tokens: dict[int, Token]
    """Edge number → its decision. A decided edge never changes again."""
    order: tuple[str, ...] = ()
    """Executed nodes in the order they ended."""


class TimerKind(StrEnum):
    """What a timer reminds of."""

    RETRY = "retry"
    """The back-off of a node is over."""
    ATTEMPT = "attempt"
    """An attempt of a node has taken too long."""
    RUN = "run"
    """The run has taken too long."""


def idle_timer(conversation_id: str, conversation: Conversation) -> str:
    """The id of the timer that ends this idle time: any run that begins makes it another."""
    return derive(conversation_id, "idle", conversation.ordinal)


class Timer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something to be reminded of. The owner of the partition fires it as an event when it is due."""

    timer_id: str
    due_ms: int
    node_id: str
    """Empty for a timer of the run."""
    kind: TimerKind = TimerKind.RETRY
    span_ms: int = 0
    """How long the time limit is; 0 for what waits for its time to come, and in older states."""


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node may spend of its conversation's budget, from its request until its last attempt has told what it cost."""

    run_id: str
    node_id: str
    allowance_micro_usd: int
    """For all attempts together."""
    attempt: int
    """The latest that was asked for."""
    spent_micro_usd: int = 0
    counted: int = 0
    """The latest attempt whose cost is in `spent_micro_usd`."""


class Conversation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    epoch: int = 0
    """Raised when a human takes over; completions of an older epoch are not acted upon."""
    ordinal: int = 0
    """How many messages and answers the conversation has."""
    seen: bytes = b""
    """Ids of the latest messages, SEEN_BYTES each, oldest first."""
    queue: tuple[Message, ...] = ()
    run: Run | None = None
    timers: tuple[Timer, ...] = ()
    idle_ms: int = 0
    """Since when nothing is going on; 0 while a run is, and where it is not known."""
    base: int = 0
    """Ordinals begin after it."""
    spent_micro_usd: int = 0
    """By all runs so far."""
    holds: tuple[Hold, ...] = ()
    """Only where a workflow bounds what a conversation may cost."""
    owner: str | None = None
    """The customer id that it belongs to: the first one it was told. NOBODY: it began as one that belongs to none."""


class ConversationCodec:
    """Conversation ⇄ changelog value."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Conversation)

    def encode(self, state: Conversation) -> bytes:
        """Integers beyond 64 bits, which JSON has and MessagePack does not, become floats: a state must always be written."""
        try:
            return self._encoder.encode(state)
        except OverflowError:
            return self._encoder.encode(_within_64_bits(msgspec.to_builtins(state, builtin_types=(bytes,))))

    def decode(self, data: bytes) -> Conversation:
        """Raises ValueError, or what msgspec raises, for what was never a conversation."""
        return self._decoder.decode(whole(data, FIRST_FIELDS))


def _within_64_bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _within_64_bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_within_64_bits(item) for item in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return float(value) if abs(value) < 1 << 1023 else str(value)
    return value
