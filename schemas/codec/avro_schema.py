"""Pydantic event → Avro record schema, the same text each time. Pure: reads the model, touches no file."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.base import AsJson, Personal

NAMESPACE = "hil"
PRECISION, SCALE = 18, 6
"""Of money: up to a trillion dollars, in micro-dollars."""

AvroType = str | dict[str, Any] | list[Any]


def record_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The Avro schema of an event. Raises TypeError naming the field whose type has no Avro form."""
    return _record(model, set())


def record_name(model: type[BaseModel]) -> str:
    """`hil.message.set_aside` → `MessageSetAside`; a model without TYPE keeps its class name."""
    type_name: str | None = getattr(model, "TYPE", None)
    if type_name is None:
        return model.__name__
    return type_name.removeprefix(f"{NAMESPACE}.").replace(".", "_").title().replace("_", "")


def marks(field: FieldInfo) -> tuple[bool, bool]:
    """(travels as JSON text, holds personal data), wherever in the annotation the mark stands."""
    found = [*field.metadata, *_metadata(field.annotation)]
    return any(isinstance(mark, AsJson) for mark in found), any(isinstance(mark, Personal) for mark in found)


def _metadata(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return [*metadata, *_metadata(inner)]
    if _is_union(annotation):
        return [mark for branch in get_args(annotation) for mark in _metadata(branch)]
    return []


def _record(model: type[BaseModel], named: set[str]) -> dict[str, Any]:
    name = record_name(model)
    named.add(name)
    schema: dict[str, Any] = {"type": "record", "name": name, "namespace": NAMESPACE}
    if doc := inspect.cleandoc(model.__doc__ or ""):
        schema["doc"] = doc
    schema["fields"] = [_field(model, name, field, named) for name, field in model.model_fields.items()]
    return schema


def _field(model: type[BaseModel], name: str, field: FieldInfo, named: set[str]) -> dict[str, Any]:
    as_json, personal = marks(field)
    try:
        kind: AvroType = {"type": "string", "hil.json": True} if as_json else _avro(field.annotation, named)
    except TypeError as error:
        raise TypeError(f"{model.__name__}.{name}: {error}") from None
    described: dict[str, Any] = {"name": name, "type": kind}
    if not field.is_required():
        described["default"] = _default(field.get_default(call_default_factory=True, validated_data={}), as_json=as_json)
        if isinstance(kind, list) and described["default"] is not None:
            described["type"] = [*kind[1:], "null"]  # Avro: a default belongs to the first branch
    if personal:
        described["hil.personal"] = True
    return described


def _avro(annotation: Any, named: set[str]) -> AvroType:
    if get_origin(annotation) is Annotated:
        return _avro(get_args(annotation)[0], named)
    if _is_union(annotation):
        branches = [branch for branch in get_args(annotation) if branch is not types.NoneType]
        if len(branches) != 1 or len(branches) == len(get_args(annotation)):
            raise TypeError(f"{annotation} is a union of more than one type and None; use one type, or mark it AsJson")
        return ["null", _avro(branches[0], named)]
    if get_origin(annotation) is list:
        return {"type": "array", "items": _avro(get_args(annotation)[0], named)}
    if get_origin(annotation) in (Mapping, dict):
        return {"type": "map", "values": _avro(get_args(annotation)[1], named)}
    if get_origin(annotation) is Literal and all(isinstance(value, str) for value in get_args(annotation)):
        return "string"
    if isinstance(annotation, type):
        return _avro_class(annotation, named)
    raise TypeError(f"{annotation} has no Avro form; use a type of avro_schema, or mark the field AsJson")


def _avro_class(kind: type, named: set[str]) -> AvroType:
    if issubclass(kind, bool):
        return "boolean"
    if issubclass(kind, StrEnum) or kind is str:
        return "string"  # not an Avro enum: a reader of last year must survive a value of this year
    if kind is int:
        return "long"
    if kind is float:
        return "double"
    if kind is bytes:
        return "bytes"
    if kind is Decimal:
        return {"type": "bytes", "logicalType": "decimal", "precision": PRECISION, "scale": SCALE}
    if issubclass(kind, BaseModel):
        return f"{NAMESPACE}.{record_name(kind)}" if record_name(kind) in named else _record(kind, named)
    raise TypeError(f"{kind.__name__} has no Avro form; use a type of avro_schema, or mark the field AsJson")


def _default(value: Any, *, as_json: bool) -> Any:
    if as_json:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, Decimal):
        unscaled = int(value.scaleb(SCALE))
        size = (unscaled.bit_length() + 8) // 8
        return unscaled.to_bytes(size, "big", signed=True).decode("latin-1")  # Avro: bytes 0-255 as code points
    return value.value if isinstance(value, StrEnum) else value


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)
