"""What becomes of a record nobody can handle: kept with its origin, its reason in words, and as much of it as fits."""

from __future__ import annotations

import base64
import json

from schemas.bounds import END_OF_TIME_MS
from schemas.events import DeadLetter
from schemas.ids import derive
from streams.runtime import Outgoing, Record
from streams.wire import outgoing

KEPT_BYTES = 262_144
KEPT_CHARACTERS = 1_024
"""Of the key, and of each header's name and value."""
KEPT_HEADERS = 64
"""A letter must always fit on its topic, or the record would stop its processor for ever. Of a name that comes twice the first
is kept, which is the one that readers heed."""


def dead_letter(record: Record, processor: str, code: str, reason: str, attempts: int) -> Outgoing:
    """The record for `dead-letters`. Its id comes from the origin, so a repeat of it is known."""
    value = record.value or b""
    letter = DeadLetter(
        id=derive(processor, record.topic, record.partition, record.offset),
        time_ms=min(max(0, record.timestamp_ms), END_OF_TIME_MS),
        conversation_id=_conversation(value) or "",
        processor=processor,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        code=code,
        reason=reason[: 4 * KEPT_CHARACTERS].encode(errors="replace").decode(),
        attempts=attempts,
        headers={name[:KEPT_CHARACTERS]: _text(raw) for name, raw in reversed(record.headers[:KEPT_HEADERS])},
        record_key=_text(record.key) if record.key is not None else None,
        payload_base64=base64.b64encode(value[:KEPT_BYTES]).decode(),
        payload_bytes=len(value),
    )
    return outgoing(letter)


def _text(raw: bytes | None) -> str:
    return (raw or b"")[:KEPT_CHARACTERS].decode("utf-8", errors="replace")


def _conversation(value: bytes) -> str | None:
    """The conversation, if the value says one in spite of its fault."""
    if len(value) > KEPT_BYTES:
        return None
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        return None
    name = body.get("conversation_id") if isinstance(body, dict) else None
    return name if isinstance(name, str) and len(name) <= 256 and name.isprintable() else None
