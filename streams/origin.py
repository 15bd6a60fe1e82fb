"""Headers of a record that lies on a topic for the second time: where it lay first, and on whose account it is there again."""

from __future__ import annotations

from collections.abc import Iterable

TOPIC, PARTITION, OFFSET, TIMESTAMP = "x-original-topic", "x-original-partition", "x-original-offset", "x-original-timestamp"
REPLAY_ID = "x-replay-id"
DEAD_LETTER_ID = "x-dead-letter-id"

Headers = Iterable[tuple[str, bytes | None]]
Place = tuple[str, int, int]
"""Topic, partition, offset."""


def first_place(headers: Headers, place: Place) -> Place:
    """Where the record lay first: what its headers say, else where it lies. What is derived from a record's place uses this."""
    said = {name: value for name, value in headers if name in (TOPIC, PARTITION, OFFSET) and value}
    try:
        return said[TOPIC].decode(), int(said[PARTITION]), int(said[OFFSET])
    except (KeyError, ValueError):
        return place


def again(headers: Headers, place: Place, timestamp_ms: int, account: str, value: str) -> tuple[tuple[str, bytes], ...]:
    """The headers of a second copy: the record's own, its first place, and the account (one of the ids above)."""
    kept = [(name, content or b"") for name, content in headers if name != account]
    if not any(name == TOPIC for name, _ in kept):
        topic, partition, offset = place
        first = {TOPIC: topic, PARTITION: partition, OFFSET: offset, TIMESTAMP: timestamp_ms}
        kept += [(name, str(content).encode()) for name, content in first.items()]
    return (*kept, (account, value.encode()))
