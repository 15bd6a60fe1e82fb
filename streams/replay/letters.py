"""Dead letters: found, retried, discarded. A letter is never changed or removed; what became of it is an event behind it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from schemas.codec import Undecodable, decode
from schemas.events import DeadLetter, DeadLetterSettled
from schemas.ids import derive
from schemas.topics import DEAD_LETTERS, TOPICS
from streams.deadletters import KEPT_BYTES, KEPT_CHARACTERS, KEPT_HEADERS
from streams.origin import DEAD_LETTER_ID, again
from streams.replay.place import Place
from streams.replay.window import window
from streams.runtime import Outgoing, Publisher, RuntimeFailed, TooLarge
from streams.runtime.reading import partition_counts
from streams.wire import outgoing

BATCH = 200
SHOWN = 5
"""Records that are named among those that are no letters."""
REPLACED = "\ufffd"
"""Stands in a letter for bytes that were no text: key and headers then have to come from the record itself."""

Action = Literal["retried", "discarded"]


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter without its payload, where it lies, and what became of it."""

    event: DeadLetter
    partition: int
    offset: int
    buried_ms: int
    settled: DeadLetterSettled | None = None

    @property
    def retry_of(self) -> str | None:
        """The letter of an earlier try, when this record had been retried before."""
        return self.event.headers.get(DEAD_LETTER_ID)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters. Everything that is given must hold; an empty one keeps every letter."""

    ids: Collection[str] = ()
    """Whole ids, or their beginnings."""
    codes: Collection[str] = ()
    topics: Collection[str] = ()
    processors: Collection[str] = ()
    conversation: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    """Half open, over the time of burial."""
    settled: bool | None = False
    """False: open ones. True: those dealt with. None: both."""

    def keeps(self, letter: Letter) -> bool:
        event = letter.event
        return (
            (not self.ids or any(event.id.startswith(name) for name in self.ids))
            and (not self.codes or event.code in self.codes)
            and (not self.topics or event.topic in self.topics)
            and (not self.processors or event.processor in self.processors)
            and (self.conversation is None or self.conversation in (event.conversation_id, event.record_key))
            and (self.since_ms is None or letter.buried_ms >= self.since_ms)
            and (self.until_ms is None or letter.buried_ms < self.until_ms)
        )


@dataclass(slots=True)
class Settled:
    """What a retry or a discard did."""

    done: list[Letter] = field(default_factory=list)
    impossible: list[tuple[Letter, str]] = field(default_factory=list)
    """Letters that stay open, and why."""


async def find(bootstrap: str, wanted: Filter, *, note: Callable[[str], None] = lambda line: None) -> list[Letter]:
    """The letters a filter keeps, in the order of their burial. `note` is told of records on the topic that are none."""
    found: dict[str, Letter] = {}
    ends: dict[str, DeadLetterSettled] = {}
    strange = 0
    async with window(bootstrap, DEAD_LETTERS) as period:
        async for batch in period.batches():
            for raw in batch:
                try:
                    event = decode(raw.value, raw.headers)
                except Undecodable as fault:
                    strange += 1
                    if strange <= SHOWN:
                        note(f"{DEAD_LETTERS}-{raw.partition}@{raw.offset} is no letter and is passed over: {fault.reason}")
                    continue
                if isinstance(event, DeadLetterSettled):
                    ends[event.letter_id] = event
                elif isinstance(event, DeadLetter):
                    light = event.model_copy(update={"payload_base64": ""})
                    letter = Letter(light, raw.partition, raw.offset, raw.timestamp)
                    if wanted.keeps(letter):
                        found.setdefault(event.id, letter)
    if strange > SHOWN:
        note(f"… and {strange - SHOWN:,} more records on {DEAD_LETTERS} are no letters")
    letters = [replace(letter, settled=ends.get(name)) for name, letter in found.items()]
    kept = [letter for letter in letters if wanted.settled is None or (letter.settled is not None) is wanted.settled]
    return sorted(kept, key=lambda letter: (letter.buried_ms, letter.partition, letter.offset))


async def payload(bootstrap: str, letter: Letter) -> DeadLetter:
    """The letter again, with as much of its record as it kept. Raises RuntimeFailed when retention has deleted it meanwhile."""
    async for _, event in _whole(bootstrap, [letter]):
        return event
    raise RuntimeFailed(f"letter {letter.event.id} is no longer on {DEAD_LETTERS}: retention has deleted it")


async def retry(
    bootstrap: str, publisher: Publisher, letters: Sequence[Letter], *, by: str, note: str, at_ms: int, dry_run: bool = False
) -> Settled:
    """Put each letter's record on its topic once more: same key, value and headers, so that what handles it derives the same ids.

    The record goes first and the note that it went second: a crash between them leaves the letter open, and a second copy is
    known by its id.
    """
    result = Settled()
    waiting: list[tuple[Letter, Outgoing]] = []
    places = _Places(bootstrap)

    async def flush() -> None:
        if not dry_run and waiting:
            await publisher.send([out for _, out in waiting])
            await _settle(publisher, [letter for letter, _ in waiting], "retried", by=by, note=note, at_ms=at_ms)
        result.done += [letter for letter, _ in waiting]
        waiting.clear()

    async for letter, event in _whole(bootstrap, letters):
        try:
            await places.check(event)
            out = await _record(bootstrap, letter, event)
            publisher.check(out)
            waiting.append((letter, out))
        except (RuntimeFailed, TooLarge) as error:
            result.impossible.append((letter, str(error)))
        if len(waiting) >= BATCH:
            await flush()
    await flush()
    return result


async def discard(
    publisher: Publisher, letters: Sequence[Letter], *, by: str, note: str, at_ms: int, dry_run: bool = False
) -> Settled:
    """Note that nothing will be done about these letters. They stay where they are until retention deletes them."""
    if not dry_run:
        for at in range(0, len(letters), BATCH):
            await _settle(publisher, letters[at : at + BATCH], "discarded", by=by, note=note, at_ms=at_ms)
    return Settled(done=list(letters))


async def _settle(publisher: Publisher, letters: Sequence[Letter], action: Action, *, by: str, note: str, at_ms: int) -> None:
    await publisher.send(
        outgoing(
            DeadLetterSettled(
                id=derive(letter.event.id, action, at_ms),
                time_ms=at_ms,
                conversation_id=letter.event.conversation_id,
                letter_id=letter.event.id,
                action=action,
                record_key=letter.event.key,
                by=by,
                note=note,
                topic=letter.event.topic,
            )
        )
        for letter in letters
    )


async def _whole(bootstrap: str, letters: Sequence[Letter]) -> AsyncIterator[tuple[Letter, DeadLetter]]:
    """The letters with their payloads, read from where they lie; never more than a fetch of them in memory."""
    at = {(letter.partition, letter.offset): letter for letter in letters}
    if not at:
        return
    async with window(bootstrap, DEAD_LETTERS, partitions=[letter.partition for letter in letters]) as period:
        firsts = {tp: min(o for p, o in at if p == tp.partition) for tp in period.starts}
        lasts = {tp: max(o for p, o in at if p == tp.partition) + 1 for tp in period.starts}
        period.starts = {tp: max(start, firsts[tp]) for tp, start in period.starts.items()}
        period.ends = {tp: min(end, lasts[tp]) for tp, end in period.ends.items()}
        async for batch in period.batches():
            for raw in batch:
                letter = at.get((raw.partition, raw.offset))
                if letter is not None:
                    event = decode(raw.value, raw.headers)
                    assert isinstance(event, DeadLetter), "it was found as one"
                    yield letter, event


class _Places:
    """Whether a record may lie where a letter says that it lay: letters are JSON, and anybody can write one."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._counts: dict[str, int | str] = {}
        """Topic → its partitions, or why there are none."""

    async def check(self, event: DeadLetter) -> None:
        """Raises RuntimeFailed, in words."""
        topic = event.topic
        if topic in TOPICS and TOPICS[topic].encoding == "state":
            raise RuntimeFailed(f"{topic} is a changelog, which nobody writes but its processor: discard the letter")
        if topic not in self._counts:
            try:
                self._counts |= await partition_counts(self._bootstrap, [topic], patience_s=1.0)
            except RuntimeFailed as error:
                self._counts[topic] = str(error)
        count = self._counts[topic]
        if isinstance(count, str):
            raise RuntimeFailed(count)
        if not 0 <= event.partition < count:
            raise RuntimeFailed(f"{topic} has no partition {event.partition}: discard the letter")


async def _record(bootstrap: str, letter: Letter, event: DeadLetter) -> Outgoing:
    """The letter's record as it was. From the letter if it has all of it, else from the topic it lies on."""
    place = (event.topic, event.partition, event.offset)
    if _complete(event):
        key = None if event.record_key is None else event.record_key.encode()
        value: bytes | None = _payload(event)
        headers: Sequence[tuple[str, bytes | None]] = [(name, text.encode()) for name, text in event.headers.items()]
        timestamp_ms = event.time_ms
    else:
        key, value, headers, timestamp_ms = await _original(bootstrap, event)
    if key is None and not value:
        raise RuntimeFailed("it has neither key nor value, so there is nothing to retry: discard it")
    told = again(headers, place, timestamp_ms, DEAD_LETTER_ID, letter.event.id)
    return Outgoing(event.topic, key, value, told, partition=event.partition if key is None else None)


def _payload(event: DeadLetter) -> bytes:
    try:
        return base64.b64decode(event.payload_base64, validate=True)
    except ValueError as error:
        raise RuntimeFailed(f"its payload is no base64 ({error}): nothing of ours has written it. Discard it") from error


def _complete(event: DeadLetter) -> bool:
    """Whether the letter has its record as it was: a longer key, or more headers, were cut off."""
    texts = (event.record_key or "", *event.headers, *event.headers.values())
    return (
        event.payload_bytes <= KEPT_BYTES
        and len(event.headers) < KEPT_HEADERS
        and not any(REPLACED in text or len(text) >= KEPT_CHARACTERS for text in texts)
    )


async def _original(
    bootstrap: str, event: DeadLetter
) -> tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]], int]:
    """The record itself, if it is still there."""
    at = Place("offset", event.offset)
    place = f"{event.topic}-{event.partition}@{event.offset}"
    async with window(bootstrap, event.topic, at, Place("offset", event.offset + 1), partitions=[event.partition]) as period:
        async for batch in period.batches():
            for raw in batch:
                if raw.offset == event.offset:
                    return raw.key, raw.value, raw.headers, raw.timestamp
    kept = f"the first {KEPT_BYTES:,} of its {event.payload_bytes:,} bytes" if event.payload_bytes > KEPT_BYTES else "part of it"
    raise RuntimeFailed(f"the letter kept {kept}, and retention has deleted the record itself from {place}: it cannot be retried")
