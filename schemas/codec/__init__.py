"""Events to bytes and back. The one place that sees encodings, schemas and the marks of a field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from schemas.base import Event
from schemas.codec import single_object, strict_json
from schemas.codec.errors import CODES, Undecodable, Unencodable
from schemas.codec.headers import Encoding, Headers, cloud_event, text_of
from schemas.codec.registry import Model, event_types
from schemas.codec.validation import validated
from schemas.events import InboundMessage
from schemas.topics import TOPICS

__all__ = [
    "CODES",
    "MAX_INBOUND_BYTES",
    "Encoding",
    "Headers",
    "Undecodable",
    "Unencodable",
    "decode",
    "decode_inbound",
    "encode",
    "is_written_as",
    "written_fields",
]

MAX_INBOUND_BYTES = 1_000_000
"""The largest value intake admits. Topics accept more, so that a larger one is refused in words and not by a broker."""

_CONFLUENT = b"\x00"
_SEND_A_MESSAGE = 'Send {"text": "…", "conversation_id": "…"}.'


def encode(event: Event | InboundMessage, *, encoding: Encoding | None = None, source: str = "hil") -> tuple[bytes, Headers]:
    """Value and headers of a record. Without `encoding`, the one of the event's topic.

    In free JSON, numbers that are not finite become null; half a surrogate pair becomes U+FFFD anywhere.
    Raises Unencodable when the event does not fit its schema (an integer beyond 64 bits, money beyond six decimals, …).
    """
    chosen = encoding or encoding_of(type(event))
    try:
        return _write(event, chosen), cloud_event(event, chosen, source)
    except _REFUSALS as error:
        return _encode_mended(event, chosen, source, error)


def decode(value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> Event:
    """The event in a record that one of our processors wrote. Raises Undecodable."""
    if not value:
        raise Undecodable("empty", "the value has no bytes. Send an event.")
    if value.startswith(single_object.MARKER):
        event = single_object.read_event(value)
        if event is not None:
            return event
        model, record = single_object.read(value, single_object.from_json)
    else:
        _refuse_other_frames(value, headers)
        model, record = _model(text_of(headers, "ce_type")), single_object.from_json(_utf8(value))
    if not issubclass(model, Event):
        raise Undecodable(
            "unknown_event_type", f"{model.TYPE} is no event of ours but what a customer sends. Send it to customer.messages."
        )
    return validated(model, record, what=model.TYPE, remedy="Its writer must follow `hil schemas export`.")


def is_written_as(event: Event, value: bytes) -> bool:
    """Whether `value` is what `encode` makes of the event today; without the headers, which take a fifth of the time."""
    try:
        return _write(event, encoding_of(type(event))) == value
    except _REFUSALS:
        return encode(event)[0] == value


def written_fields(value: bytes) -> frozenset[str]:
    """The fields its writer knew of, of a value that `decode` accepts; what is not among them has our default."""
    if value.startswith(single_object.MARKER):
        return single_object.written_fields(value)
    return frozenset(single_object.from_json(_utf8(value)))


def decode_inbound(value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> InboundMessage:
    """The customer's message in a record anybody may have written: JSON, or a single object. Raises Undecodable.

    Types are taken as they are, keys nobody knows are ignored, and whatever has two readings is refused.
    """
    if not value:
        raise Undecodable("empty", f"the value has no bytes. {_SEND_A_MESSAGE}")
    if len(value) > MAX_INBOUND_BYTES:
        size = f"the value has {len(value):,} bytes, and {MAX_INBOUND_BYTES:,} are accepted"
        raise Undecodable("too_large", f"{size}. Send a shorter message, or a link to the rest.")
    kind = text_of(headers, "ce_type")
    if kind is not None and kind != InboundMessage.TYPE:
        raise Undecodable(
            "unknown_event_type", f"the header ce_type says {kind[:100]!r}. Write {InboundMessage.TYPE}, or leave it out."
        )
    if value.startswith(single_object.MARKER):
        model, record = single_object.read(value, strict_json.parse_text)
        if model is not InboundMessage:
            raise Undecodable(
                "unknown_event_type", f"the value is a {model.TYPE}, not a {InboundMessage.TYPE}. {_SEND_A_MESSAGE}"
            )
    else:
        _refuse_other_frames(value, headers)
        record = strict_json.parse(value)
    return validated(InboundMessage, record, what="the message", remedy=_SEND_A_MESSAGE)


def _refuse_other_frames(value: bytes, headers: Iterable[tuple[str, bytes | None]]) -> None:
    """What is neither a single object nor JSON, and says so."""
    if value.startswith(_CONFLUENT):
        raise Undecodable(
            "no_schema_registry",
            "the value has the frame of a schema registry, and none is configured. Send JSON, or Avro single-object encoding.",
        )
    declared = text_of(headers, "content-type") or ""
    if "avro" in declared:
        fault = (
            f"content-type is {declared[:100]!r}, but the value does not begin with C3 01, the marker of single-object encoding"
        )
        raise Undecodable("invalid_avro", f"{fault}. Send it, or send JSON.")


def _model(kind: str | None) -> Model:
    if kind is None:
        raise Undecodable(
            "unknown_event_type", "the header ce_type is missing, so nobody knows what the JSON is. Send the event's type in it."
        )
    model = event_types().get(kind)
    if model is None:
        raise Undecodable(
            "unknown_event_type",
            f"the header ce_type says {kind[:100]!r}; `hil schemas list` shows the types that are read here.",
        )
    return model


def _utf8(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Undecodable(
            "invalid_utf8", f"the value is not UTF-8 text: byte {error.start} does not fit. Encode it as UTF-8."
        ) from None


@cache
def encoding_of(model: Model) -> Encoding:
    """What events of this model are written in by default: what their topic says."""
    chosen = next(topic.encoding for topic in TOPICS.values() if model in topic.carries)
    return "json" if chosen == "json" else "avro"


def _write(event: Event | InboundMessage, encoding: Encoding) -> bytes:
    if encoding == "avro":
        return single_object.write(event, type(event))
    return event.__pydantic_serializer__.to_json(event)


_REFUSALS = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What fastavro, msgspec and pydantic raise for content they have no room for."""


def _encode_mended(event: Event | InboundMessage, encoding: Encoding, source: str, error: Exception) -> tuple[bytes, Headers]:
    """A second try without half surrogate pairs, which models and tools do write. `error` is what the first one met."""
    try:
        mended = event.model_copy(update={name: _without_lone_surrogates(value) for name, value in event.__dict__.items()})
        if mended != event:
            return _write(mended, encoding), cloud_event(mended, encoding, source)
    except _REFUSALS as again:
        error = again
    raise _unencodable(event, error) from error


def _unencodable(event: Event | InboundMessage, error: Exception) -> Unencodable:
    return Unencodable(f"{event.TYPE} does not fit its schema: {error}. Build it with values of the declared types.")


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_without_lone_surrogates(key): _without_lone_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_lone_surrogates(item) for item in value]
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _without_lone_surrogates(item) for name, item in value.__dict__.items()})
    return value
