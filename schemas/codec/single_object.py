"""Avro single-object encoding: marker, fingerprint of the writer's schema, body.

A record is read with the schema it was written with; what that version did not have yet comes from the model's defaults.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from typing import Any, get_args

import fastavro
import msgspec
from pydantic import BaseModel

from schemas.base import Event, complete
from schemas.codec.avro_schema import marks
from schemas.codec.compiled import Read, Write, compile_reader, compile_writer
from schemas.codec.errors import Undecodable
from schemas.codec.plain import checks_of
from schemas.codec.registry import Model, Version, by_fingerprint, current, event_types
from schemas.codec.strict_json import depth

MARKER = b"\xc3\x01"
HEAD = len(MARKER) + 8
UNSURE = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, EOFError, RecursionError, NotImplementedError)
"""What a compiled writer or reader raises: then fastavro does it again, or says what is wrong."""
MAX_DEPTH = 200
"""Levels in a field that travels as JSON text. Twice what a customer may send, and less than any JSON writer here stops at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What must be changed between a model's attributes and an Avro record; everything else travels as it is."""

    json_fields: tuple[str, ...]
    nested: tuple[tuple[str, Plan], ...]


@dataclass(frozen=True, slots=True)
class Writer:
    compiled: Write | None
    head: bytes
    schema: dict[str, Any]
    plan: Plan


def write(event: BaseModel, model: Model) -> bytes:
    """`event` under today's schema. Raises whatever its content makes fastavro or msgspec raise."""
    writer = _writer(model)
    if writer.compiled is not None:
        try:
            return writer.compiled(event.__dict__)
        except UNSURE:
            pass
    body = BytesIO()
    body.write(writer.head)
    fastavro.schemaless_writer(body, writer.schema, _record(event, writer.plan), disable_tuple_notation=True)
    return body.getvalue()


def read(value: bytes, parse_json: Callable[[str], Any]) -> tuple[Model, dict[str, Any]]:
    """(model, its fields) of a single object. `parse_json` reads the fields that travel as JSON text. Raises Undecodable."""
    if len(value) < HEAD:
        raise Undecodable(
            "truncated", f"the Avro value has {len(value)} bytes; marker and fingerprint alone have {HEAD}. Send it whole."
        )
    version = by_fingerprint(value[len(MARKER) : HEAD])
    if version is None:
        raise Undecodable(
            "unknown_fingerprint",
            f"no schema here has the fingerprint {value[len(MARKER) : HEAD].hex()}. Write with a schema of `hil schemas export`, "
            "or upgrade this installation if the writer is newer.",
        )
    if parse_json is from_json:
        reader = _reader(version.fingerprint)
        if reader is not None:
            try:
                return version.model, reader(value, HEAD)
            except UNSURE:
                pass
    record = _body(value, version)
    _parse_json_fields(record, _plan(version.model), parse_json)
    return version.model, record


def read_event(value: bytes) -> Event | None:
    """The event in a single object, when it is written as events are today and nothing about it is unusual; else None."""
    reader = _event_readers().get(value[:HEAD])
    if reader is None:
        return None
    model, fields = reader
    try:
        return complete(model, fields(value, HEAD))
    except UNSURE:
        return None


def written_fields(value: bytes) -> frozenset[str]:
    """The fields that the schema a single object was written with has; none for a schema nobody knows."""
    version = by_fingerprint(value[len(MARKER) : HEAD])
    return frozenset() if version is None else frozenset(field["name"] for field in version.parsed["fields"])


def from_json(text: str) -> Any:
    """JSON of our own writing, a whole value or a field. Not for strangers: of a key that comes twice the last one wins."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise Undecodable("too_deep", "JSON is nested too deeply. Its writer must send a flatter value.") from None
    except ValueError as error:
        raise Undecodable("invalid_json", f"what should be JSON is not: {error}. Its writer must send one JSON value.") from None


def _body(value: bytes, version: Version) -> dict[str, Any]:
    body = BytesIO(value)
    body.seek(HEAD)
    name = version.model.TYPE
    try:
        record = fastavro.schemaless_reader(body, version.parsed, None)
    except EOFError:
        raise Undecodable("truncated", f"the Avro value of {name} ends too early. Send it whole.") from None
    except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RecursionError, struct.error) as error:
        raise Undecodable(
            "invalid_avro", f"the bytes do not fit the schema of {name} ({type(error).__name__}). Write them anew."
        ) from None
    if body.tell() != len(value):
        raise Undecodable("trailing_bytes", f"something follows the end of {name}. Send one value in a record, and nothing else.")
    assert isinstance(record, dict), f"the schema of {name} is a record"
    return record


def _record(event: BaseModel, plan: Plan) -> Mapping[str, Any]:
    if not plan.json_fields and not plan.nested:
        return event.__dict__
    record = dict(event.__dict__)
    for name in plan.json_fields:
        record[name] = _json_text(name, record[name])
    for name, inner in plan.nested:
        record[name] = _each(record[name], partial(_record, plan=inner))
    return record


def _json_text(name: str, value: Any) -> str:
    text = _ENCODER.encode(value)
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and depth(_DECODER.decode(text)) > MAX_DEPTH:
        raise ValueError(f"`{name}` is nested more than {MAX_DEPTH} deep")
    return text.decode()


def _json_bytes(value: Any) -> bytes:
    text = _ENCODER.encode(value)
    if len(text) > 2 * MAX_DEPTH and text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        raise ValueError("perhaps too deep")
    return text


def _parse_json_fields(record: dict[str, Any], plan: Plan, parse_json: Callable[[str], Any]) -> None:
    for name in plan.json_fields:
        if name in record:
            record[name] = parse_json(record[name])
    for name, inner in plan.nested:
        if name in record:
            _each(record[name], partial(_parse_json_fields, plan=inner, parse_json=parse_json))


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, list):
        return [change(item) for item in value]
    return None if value is None else change(value)


@cache
def _writer(model: Model) -> Writer:
    version = current(model)
    head = MARKER + version.fingerprint
    return Writer(compile_writer(version.parsed, head, _json_bytes), MARKER + version.fingerprint, version.parsed, _plan(model))


@cache
def _reader(fingerprint: bytes) -> Read | None:
    version = by_fingerprint(fingerprint)
    return None if version is None else compile_reader(version.parsed, _DECODER.decode)


@cache
def _event_readers() -> Mapping[bytes, tuple[type[Event], Read]]:
    """By head: the readers of those events whose fields a reader can vouch for."""
    found = {}
    for model in event_types().values():
        checks = checks_of(model) if issubclass(model, Event) else None
        reader = compile_reader(current(model).parsed, _DECODER.decode, checks) if checks is not None else None
        if reader is not None and issubclass(model, Event):
            found[MARKER + current(model).fingerprint] = (model, reader)
    return found


@cache
def _plan(model: type[BaseModel]) -> Plan:
    json_fields = tuple(name for name, field in model.model_fields.items() if marks(field)[0])
    inner = ((name, _model_in(field.annotation)) for name, field in model.model_fields.items() if name not in json_fields)
    return Plan(json_fields, tuple((name, _plan(nested)) for name, nested in inner if nested is not None))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `list[Model]` or `Model | None`."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_DECODER = msgspec.json.Decoder()
