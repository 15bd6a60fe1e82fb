"""CloudEvents 1.0 in Kafka's binary mode: the attributes of an event as record headers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from schemas.base import Event
from schemas.events import InboundMessage

Encoding = Literal["avro", "json"]
Headers = tuple[tuple[str, bytes], ...]

CONTENT_TYPES: dict[Encoding, bytes] = {"json": b"application/json", "avro": b"application/avro"}
_LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z, the last one RFC 3339 can say."""


def cloud_event(event: Event | InboundMessage, encoding: Encoding, source: str) -> Headers:
    """The headers of one record. A message without an id is no CloudEvent and carries its content type alone."""
    version, kind, origin, content = _constant(event.TYPE, encoding, source)
    if isinstance(event, InboundMessage):
        if event.message_id is None:
            return (content,)
        return (
            version,
            ("ce_id", event.message_id.encode()),
            kind,
            origin,
            _subject(event.conversation_id),
            content,
        )
    if not event.conversation_id:
        return (version, ("ce_id", event.id.encode()), kind, origin, _happened(event.time_ms), content)
    subject = _subject(event.conversation_id)
    return (version, ("ce_id", event.id.encode()), kind, origin, _happened(event.time_ms), subject, content)


@lru_cache(maxsize=1024)
def _happened(time_ms: int) -> tuple[str, bytes]:
    return ("ce_time", rfc3339(time_ms))


@lru_cache(maxsize=4096)
def _subject(conversation_id: str) -> tuple[str, bytes]:
    """The same for the dozen records of a run: what is made for each of them is most of what the collector looks at."""
    return ("ce_subject", conversation_id.encode())


def rfc3339(time_ms: int) -> bytes:
    """Milliseconds since 1970 as `2026-11-23T16:02:00.123Z`; the year 9999 is the end of time."""
    seconds, millis = divmod(time_ms, 1000)
    return b"%b.%03dZ" % (_second(min(max(seconds, 0), _LAST_SECOND)), millis)


def text_of(headers: Iterable[tuple[str, bytes | None]], name: str) -> str | None:
    """The header's first value; None when absent. Bytes that are not UTF-8 are shown as replacement characters."""
    for key, value in headers:
        if key.lower() == name and value is not None:
            return value.decode("utf-8", "replace")
    return None


@lru_cache(maxsize=1024)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@lru_cache(maxsize=256)
def _constant(kind: str, encoding: Encoding, source: str) -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", kind.encode()),
        ("ce_source", source.encode()),
        ("content-type", CONTENT_TYPES[encoding]),
    )
