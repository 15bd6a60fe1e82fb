"""Folds conversation.events through today's reducer and holds what it decides against what workflow.events has. No I/O.

Why a plain comparison of two sequences is enough: one owner at a time decides for a partition, in the order of its events, and
publishes in that order; a successor begins where its predecessor committed, and what is committed has been published. So the
first copies of a partition's decisions lie in the log in the order of their causes, and everything else is a repeat of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from schemas.base import Event
from schemas.codec import Undecodable, decode, is_written_as, written_fields
from schemas.events import MessageReceived, MessageSetAside, RerunRequested, RunFinished
from schemas.events.workflow import Decided
from schemas.topics import CONVERSATION_EVENTS, TOPICS
from streams.core.digest import VERSION
from streams.core.graph import Graph
from streams.core.reducer import decide
from streams.core.state import Conversation
from streams.replay.difference import Difference, Differs, Kind
from streams.runtime.publisher import key_hash

SHOWN = 20
"""Records that are named among those passed over; the rest are counted."""
REMEMBERED = 200_000
"""Outputs of a partition whose repeats are known, at least. A crash repeats a few thousand at most, however much later."""
FINGERPRINT = slice(2, 10)
EVENTS = TOPICS[CONVERSATION_EVENTS].carries


class Lying(Protocol):
    """A record as it lies on a partition: ours, and aiokafka's."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]]: ...


class Known(Enum):
    """What can be said of a conversation in a period that does not begin with the log."""

    PERHAPS = auto()
    """Its first message may be its first ever: the log will say."""
    WHOLE = auto()
    LEFT_OUT = auto()
    """It began earlier, so nobody knows the state it was in."""


@dataclass(slots=True)
class Counts:
    events: int = 0
    outputs: int = 0
    """First copies that were compared."""
    repeats: int = 0
    digests: int = 0
    """States compared."""
    conversations: int = 0
    left_out: int = 0
    """Conversations that began before the period."""
    passed_over: int = 0
    """Events that went to dead letters instead of being decided."""
    later: int = 0
    """Outputs whose causes lie behind the end of the period."""
    unreadable: int = 0
    """Records among the outputs that are no decision of ours: garbage is no difference."""

    def add(self, other: Counts) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Verification:
    """One partition. Feed `event` and `output`, each in the order of offsets, then call `end`. They raise Differs."""

    definitions: Mapping[str, Graph]
    whole: bool = True
    """The period begins where the log began."""
    complete: bool = False
    """The log ends with the outputs of these events: one more is one too many, and not that of a later event."""
    partitions: int | None = None
    """How many the topics have, where each conversation has to be on its own; None: whatever is there is to be taken."""
    dead: Collection[tuple[int, int]] = frozenset()
    """(partition, offset) of the events that went to dead letters."""
    counts: Counts = field(default_factory=Counts)
    notes: list[str] = field(default_factory=list)
    """Of what was passed over: where it lies, and why. The first SHOWN."""
    _states: dict[str, Conversation] = field(default_factory=dict)
    _known: dict[str, Known] = field(default_factory=dict)
    _expected: deque[tuple[Decided, int, int]] = field(default_factory=deque)
    """Decided and not yet seen in the log, with partition and offset of the cause."""
    _claimed: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Hash of an id → (hash of the value, fingerprint of its schema): the latest, up to REMEMBERED."""
    _claimed_before: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """The REMEMBERED before those. Dropped as a whole: a dict that loses its oldest entry each time gets slow."""
    _causes: deque[str] = field(default_factory=lambda: deque(maxlen=10_000))
    _raised: dict[str, str] = field(default_factory=dict)
    """Event → why nothing could be decided about it. As long as the log has no output of it either, that is as it was."""
    _unknown: dict[str, str] = field(default_factory=dict)
    """Conversation → the definition it asked for last that is not known here."""

    @property
    def waiting(self) -> bool:
        """Whether the log must be read on."""
        return bool(self._expected)

    def outputs(self, ahead: deque[Lying]) -> None:
        """Take outputs from the front as long as some are expected, and no further: causes come first."""
        while ahead and self._expected:
            self.output(ahead.popleft())

    # ------------------------------------------------------------------------------------------- what happened

    def event(self, record: Lying) -> None:
        """Decide about one record of conversation.events."""
        self.counts.events += 1
        partition, offset = record.partition, record.offset
        if self.dead and (partition, offset) in self.dead:
            self.counts.passed_over += 1
            return
        try:
            event = decode(record.value, record.headers)
        except Undecodable:
            self.counts.passed_over += 1
            return
        if not isinstance(event, EVENTS):
            self.counts.passed_over += 1
            return
        name = event.conversation_id
        before = self._states.get(name)
        if before is None and (self._misplaced(name, record) or not self._begins(name, event)):
            return
        try:
            decision = decide(before, event, self.definitions)
        except Exception as error:  # noqa: BLE001  the processor sends it to dead letters then, and leaves the state alone
            self.counts.passed_over += 1
            self._raised[event.id] = f"today's reducer raises {type(error).__name__}: {error}"
            return
        if decision.refusal is not None:  # to dead letters, with the state left alone
            self.counts.passed_over += 1
            return
        if isinstance(event, (MessageReceived, RerunRequested)) and event.digest not in self.definitions:
            self._unknown[name] = f"{event.workflow}@{event.version} ({event.digest})"
        if decision.conversation is None:
            self._states.pop(name, None)
        else:
            self._states[name] = decision.conversation
        self.counts.conversations += before is None
        self._causes.append(event.id)
        self._expected += [(output, partition, offset) for output in decision.outputs if isinstance(output, Decided)]

    def _misplaced(self, name: str, record: Lying) -> bool:
        """Whether somebody else has put it there: decisions about the conversation lie elsewhere."""
        if self.partitions is None or key_hash(name.encode()) % self.partitions == record.partition:
            return False
        self.counts.passed_over += 1
        if len(self.notes) < SHOWN:
            self.notes.append(f"{record.topic}-{record.partition}@{record.offset} is passed over: not the partition of its key")
        return True

    def before(self, record: Lying) -> None:
        """An event whose own time is before the period, though it lies within: its conversation has begun before the period."""
        try:
            name = decode(record.value, record.headers).conversation_id
        except Undecodable:
            return
        if self.whole or name in self._known:
            self.event(record)
        else:
            self._known[name] = Known.LEFT_OUT
            self.counts.left_out += 1

    def _begins(self, name: str, event: Event) -> bool:
        """The first event of a conversation. False: it began before the period."""
        if self.whole:
            return True
        known = self._known.get(name)
        if known is None:
            if isinstance(event, (MessageReceived, RerunRequested)):
                known = Known.PERHAPS
            else:
                known = Known.LEFT_OUT
                self.counts.left_out += 1
            self._known[name] = known
        return known is not Known.LEFT_OUT

    # ------------------------------------------------------------------------------------------- what was decided

    def output(self, record: Lying) -> None:
        """Hold one record of workflow.events against what is expected next."""
        value = record.value or b""
        name = _id(record)
        if self._expected:
            expected, partition, offset = self._expected[0]
            if expected.id == name:
                if is_written_as(expected, value):
                    self.counts.digests += isinstance(expected, RunFinished)
                elif not self._same(expected, record, partition, offset):
                    return
                self._expected.popleft()
                self._claim(name, value, expected)
                return
        claimed = self._claimed.get(hash(name)) or self._claimed_before.get(hash(name))
        if claimed is not None:
            self._repeat(claimed, record, value)
        else:
            self._stranger(record)

    def end(self) -> None:
        """Nothing more will come."""
        if self._expected:
            expected, partition, offset = self._expected[0]
            raise self._differs("missing", None, expected=expected, cause=(partition, offset))

    def _claim(self, name: str, value: bytes, expected: Decided) -> None:
        self.counts.outputs += 1
        if len(self._claimed) >= REMEMBERED:
            self._claimed, self._claimed_before = {}, self._claimed
        self._claimed[hash(name)] = (hash(value), value[FINGERPRINT])
        if not self.whole and self._known.get(expected.conversation_id) is Known.PERHAPS:
            self._known[expected.conversation_id] = Known.WHOLE

    def _repeat(self, claimed: tuple[int, bytes], record: Lying, value: bytes) -> None:
        """The same id again. The same bytes too, unless another version of the schema wrote them."""
        if claimed[0] != hash(value):
            if self._read(record) is None:
                return
            if claimed[1] == value[FINGERPRINT]:
                raise self._differs("changed", record, reason="the log has this id twice, with different content")
        self.counts.repeats += 1

    def _same(self, expected: Decided, record: Lying, partition: int, offset: int) -> bool:
        """The bytes differ: compare what the writer's schema had. False: the record says nothing about what is expected."""
        recorded = self._read(record)
        if recorded is None:
            return False
        fields = {}
        for field_name in sorted(written_fields(record.value or b"") & type(expected).model_fields.keys()):
            today, then = getattr(expected, field_name), getattr(recorded, field_name, None)
            if field_name == "state_digest" and not _comparable(then):
                continue
            self.counts.digests += field_name == "state_digest"
            if today != then:
                fields[field_name] = (today, then)
        if type(recorded) is type(expected) and not fields:
            return True
        if self._leave_out(expected.conversation_id):
            return False
        raise self._differs("changed", record, expected=expected, recorded=recorded, cause=(partition, offset), fields=fields)

    def _stranger(self, record: Lying) -> None:
        """Neither expected next nor a repeat."""
        recorded = self._read(record)
        if recorded is None:
            return
        name = recorded.conversation_id
        if not self.whole and (name not in self._known or self._known[name] is Known.LEFT_OUT or self._leave_out(name)):
            return
        cause = getattr(recorded, "cause_id", "")
        if cause in self._raised:
            raise self._differs("unexpected", record, recorded=recorded, reason=self._raised[cause])
        if self._expected:
            if not self.complete and name not in self._states and cause not in self._causes:
                self._pass_over(record, f"it decides about {name[:100]!r}, of which no event is known")
                return
            expected, partition, offset = self._expected[0]
            kind: Kind = "missing" if any(item.id == recorded.id for item, _, _ in self._expected) else "unexpected"
            raise self._differs(kind, record, expected=expected, recorded=recorded, cause=(partition, offset))
        # An event that was published twice is set aside the second time, which may lie behind the end of the period.
        if self.complete or (cause in self._causes and not isinstance(recorded, MessageSetAside)):
            raise self._differs("unexpected", record, recorded=recorded)
        self.counts.later += 1

    def _leave_out(self, name: str) -> bool:
        """A conversation that was taken for a new one turns out to be older. True: it is left out from now on."""
        if self._known.get(name) is not Known.PERHAPS:
            return False
        self._known[name] = Known.LEFT_OUT
        self._states.pop(name, None)
        self._expected = deque(item for item in self._expected if item[0].conversation_id != name)
        self.counts.left_out += 1
        self.counts.conversations -= 1
        return True

    def _read(self, record: Lying) -> Decided | None:
        """None for what is no decision, whoever has put it there."""
        try:
            event = decode(record.value, record.headers)
        except Undecodable as error:
            self._pass_over(record, f"{error.code}: {error.reason}")
            return None
        if isinstance(event, Decided):
            return event
        self._pass_over(record, f"{event.TYPE} does not belong there")
        return None

    def _pass_over(self, record: Lying, why: str) -> None:
        self.counts.unreadable += 1
        if len(self.notes) < SHOWN:
            self.notes.append(f"{record.topic}-{record.partition}@{record.offset} is no decision and is passed over: {why}")

    def _differs(
        self,
        kind: Kind,
        record: Lying | None,
        *,
        expected: Event | None = None,
        recorded: Event | None = None,
        cause: tuple[int, int] | None = None,
        fields: Mapping[str, tuple[object, object]] | None = None,
        reason: str | None = None,
    ) -> Differs:
        return Differs(
            Difference(
                kind,
                cause=f"{CONVERSATION_EVENTS}-{cause[0]}@{cause[1]}" if cause else None,
                recorded_at=f"{record.topic}-{record.partition}@{record.offset}" if record is not None else None,
                expected=expected,
                recorded=recorded,
                fields=fields or {},
                reason=reason,
                hints=tuple(self._hints(expected or recorded)),
            )
        )

    def _hints(self, event: Event | None) -> Iterable[str]:
        if event is None:
            return
        if event.conversation_id in self._unknown:
            label = self._unknown[event.conversation_id]
            yield f"the definition {label} is not among the {len(self.definitions)} that are known here and compile"


def _comparable(recorded: object) -> bool:
    """A digest of another version covers other fields, so the two say nothing about each other."""
    return isinstance(recorded, str) and recorded.partition(":")[0] == VERSION


def _id(record: Lying) -> str:
    for name, value in record.headers:
        if name == "ce_id":
            return (value or b"").decode(errors="replace")
    return ""
