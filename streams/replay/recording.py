"""Takes conversations out of a running system's log, whole, as a history that can be verified anywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from schemas.base import Event
from schemas.codec import Undecodable, decode
from schemas.events import MessageReceived, RerunRequested, RunStarted
from schemas.events.workflow import Decided
from schemas.topics import CONVERSATION_EVENTS, DEAD_LETTERS, WORKFLOW_DEFINITIONS, WORKFLOW_EVENTS
from streams.replay.files import CONVERSATIONS, buried
from streams.replay.history import History
from streams.replay.verify import everything
from streams.replay.window import window
from streams.runtime import Record, RuntimeFailed
from streams.runtime.positions import committed
from streams.runtime.reading import record_of


@dataclass(slots=True)
class Recorded:
    history: History
    conversations: int
    left_out: int
    """Conversations whose beginning retention has deleted."""
    unreadable: int = 0
    """Records among the events, and under the keys of the decisions, that are neither: no decision depends on them."""


@dataclass(frozen=True, slots=True)
class Lying:
    """A record and what it says; None when that cannot be read."""

    raw: Record
    event: Event | None

    @classmethod
    def read(cls, raw: Record) -> Lying:
        try:
            return cls(raw, decode(raw.value, raw.headers))
        except Undecodable:
            return cls(raw, None)

    @property
    def conversation(self) -> str:
        """Of an event the one it is about, whatever its key: that is the one the reducer takes it for."""
        return _key(self.raw) if self.event is None else self.event.conversation_id


@dataclass(slots=True)
class _Wanted:
    """Which conversations, and what is known of them so far."""

    conversations: Collection[str]
    workflow: str | None
    limit: int | None
    keys: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    def sees(self, event: MessageReceived) -> None:
        if event.conversation_id in self.keys:
            self.digests.add(event.digest)
            return
        if self.conversations and event.conversation_id not in self.conversations:
            return
        if self.workflow and self.workflow not in (event.workflow, f"{event.workflow}@{event.version}"):
            return
        if self.limit is None or len(self.keys) < self.limit:
            self.keys.add(event.conversation_id)
            self.digests.add(event.digest)


async def record(
    bootstrap: str,
    *,
    conversations: Collection[str] = (),
    workflow: str | None = None,
    limit: int | None = None,
    at_ms: int = 0,
) -> Recorded:
    """Everything that has been decided about these conversations, or about those of a workflow, at most `limit` of them."""
    events = await _events(bootstrap)
    wanted = _Wanted(conversations, workflow, limit)
    for lying in events:
        if isinstance(lying.event, MessageReceived):
            wanted.sees(lying.event)
    if not wanted.keys:
        raise RuntimeFailed(
            "no conversation of the log is among those asked for: `hil replay conversation.events` shows them all"
        )
    outputs = [Lying.read(raw) for raw in await everything(bootstrap, WORKFLOW_EVENTS, lambda raw: _key(raw) in wanted.keys)]
    keys = wanted.keys & beginnings(events, outputs)
    kept = [lying for lying in events if lying.conversation in keys]
    ids = {lying.event.id for lying in kept if lying.event is not None}
    records = [
        *[raw for raw in await everything(bootstrap, WORKFLOW_DEFINITIONS) if _digest(raw) in wanted.digests],
        *await _letters_of([lying.raw for lying in kept], bootstrap),
        *[lying.raw for lying in kept],
        *sorted(
            (
                lying.raw
                for lying in outputs
                if isinstance(lying.event, Decided) and lying.conversation in keys and lying.event.cause_id in ids
            ),
            key=lambda raw: (raw.partition, raw.offset),
        ),
    ]
    about = {"workflow": workflow, "conversations": len(keys), "recorded_ms": at_ms}
    unreadable = sum(lying.event is None for lying in (*events, *outputs))
    return Recorded(History(tuple(records), about), len(keys), len(wanted.keys - keys), unreadable)


def beginnings(events: Iterable[Lying], outputs: Iterable[Lying]) -> set[str]:
    """The conversations whose first run is among the outputs.

    The same message may have come twice, each time with another place where ordinals would begin: the first time has decided.
    """
    bases: dict[str, set[int]] = defaultdict(set)
    for lying in events:
        if isinstance(lying.event, (MessageReceived, RerunRequested)):
            bases[lying.event.id].add(lying.event.ordinal_base)
    return {
        lying.event.conversation_id
        for lying in outputs
        if isinstance(lying.event, RunStarted) and lying.event.ordinal - 1 in bases[lying.event.cause_id]
    }


async def _events(bootstrap: str) -> list[Lying]:
    """conversation.events as far as it has been decided: what lies behind has perhaps no outputs yet."""
    async with window(bootstrap, CONVERSATION_EVENTS) as period:
        decided = await committed(bootstrap, CONVERSATIONS, list(period.starts))
        if not decided:
            raise RuntimeFailed(f"nothing on {CONVERSATION_EVENTS} has been decided yet: send a message first")
        period.ends = {tp: max(start, min(period.ends[tp], decided.get(tp, 0))) for tp, start in period.starts.items()}
        found = [Lying.read(record_of(raw)) async for batch in period.batches() for raw in batch]
    return sorted(found, key=lambda lying: (lying.raw.partition, lying.raw.offset))


async def _letters_of(events: list[Record], bootstrap: str) -> list[Record]:
    at = {(raw.partition, raw.offset) for raw in events}
    return await everything(bootstrap, DEAD_LETTERS, lambda letter: bool(buried([letter]) & at))


def _key(raw: Record) -> str:
    return (raw.key or b"").decode(errors="replace")


def _digest(raw: Record) -> str | None:
    return getattr(Lying.read(raw).event, "digest", None)
