"""Takes conversations out of a running system's log, whole, as a history that can be verified anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from schemas.base import Event
from schemas.codec import Undecodable, decode
from schemas.events import MessageReceived, RunStarted
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
    wanted = _Wanted(conversations, workflow, limit)
    events = await _events(bootstrap)
    for raw in events:
        event = _message(raw)
        if event is not None:
            wanted.sees(event)
    if not wanted.keys:
        raise RuntimeFailed(
            "no conversation of the log is among those asked for: `hil replay conversation.events` shows them all"
        )
    outputs = [raw for raw in await everything(bootstrap, WORKFLOW_EVENTS) if _key(raw) in wanted.keys]
    bases = {event.id: event.ordinal_base for raw in events if (event := _message(raw)) is not None}
    whole = {_key(raw) for raw in outputs if _begins(raw, bases)}
    keys = wanted.keys & whole
    kept = [raw for raw in events if _key(raw) in keys]
    ids = {found.id for raw in kept if (found := _decoded(raw))}
    records = [
        *[raw for raw in await everything(bootstrap, WORKFLOW_DEFINITIONS) if _digest(raw) in wanted.digests],
        *_letters_of(await everything(bootstrap, DEAD_LETTERS), kept),
        *kept,
        *sorted(
            (raw for raw in outputs if _key(raw) in keys and _cause(raw) in ids), key=lambda raw: (raw.partition, raw.offset)
        ),
    ]
    about = {"workflow": workflow, "conversations": len(keys), "recorded_ms": at_ms}
    return Recorded(History(tuple(records), about), len(keys), len(wanted.keys - whole))


async def _events(bootstrap: str) -> list[Record]:
    """conversation.events as far as it has been decided: what lies behind has perhaps no outputs yet."""
    async with window(bootstrap, CONVERSATION_EVENTS) as period:
        decided = await committed(bootstrap, CONVERSATIONS, list(period.starts))
        if not decided:
            raise RuntimeFailed(f"nothing on {CONVERSATION_EVENTS} has been decided yet: send a message first")
        period.ends = {tp: max(start, min(period.ends[tp], decided.get(tp, 0))) for tp, start in period.starts.items()}
        found = [record_of(raw) async for batch in period.batches() for raw in batch]
    return sorted(found, key=lambda raw: (raw.partition, raw.offset))


def _letters_of(letters: list[Record], events: list[Record]) -> list[Record]:
    at = {(raw.partition, raw.offset) for raw in events}
    return [letter for letter in letters if buried([letter]) & at]


def _message(raw: Record) -> MessageReceived | None:
    event = _decoded(raw)
    return event if isinstance(event, MessageReceived) else None


def _begins(raw: Record, bases: Mapping[str, int]) -> bool:
    """Whether a conversation begins with this run. `bases`: message event → where the ordinals of a conversation would begin."""
    event = _decoded(raw)
    return isinstance(event, RunStarted) and event.ordinal == bases.get(event.cause_id, -1) + 1


def _decoded(raw: Record) -> Event | None:
    try:
        return decode(raw.value, raw.headers)
    except Undecodable:
        return None


def _digest(raw: Record) -> str | None:
    return getattr(_decoded(raw), "digest", None)


def _cause(raw: Record) -> str | None:
    return getattr(_decoded(raw), "cause_id", None)


def _key(raw: Record) -> str:
    return (raw.key or b"").decode(errors="replace")
