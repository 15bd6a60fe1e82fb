"""Models become Avro schemas as promised, and their fingerprints are those of the Avro specification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import avro.schema
import pytest
from avro.constants import PRIMITIVE_TYPES
from pydantic import BaseModel, Field

from schemas.base import AsJson, Personal, Usd
from schemas.codec.avro_schema import record_schema
from schemas.codec.registry import current, event_types, fingerprint


class Colour(StrEnum):
    RED = "red"


class Inner(BaseModel):
    amount: Usd = Decimal("-1.5")


class Sample(BaseModel):
    """What this is."""

    TYPE: ClassVar[str] = "hil.sample.set_up"

    text: str
    count: int = 3
    share: float = 0.5
    yes: bool = True
    maybe: int | None
    nothing: Annotated[str, Personal()] | None = None
    something: int | None = 5
    colour: Colour = Colour.RED
    choice: Literal["a", "b"] = "a"
    money: Usd = Decimal("0.000128")
    items: list[str] = Field(default_factory=list)
    labels: Mapping[str, str] = Field(default_factory=dict)
    inner: Inner
    others: list[Inner] = Field(default_factory=list)
    free: Annotated[Any, AsJson(), Personal()] = None
    shape: Annotated[Mapping[str, Any], AsJson()] = Field(default_factory=lambda: {"ü": 1})


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 6}
FIELDS = [
    {"name": "text", "type": "string"},
    {"name": "count", "type": "long", "default": 3},
    {"name": "share", "type": "double", "default": 0.5},
    {"name": "yes", "type": "boolean", "default": True},
    {"name": "maybe", "type": ["null", "long"]},
    {"name": "nothing", "type": ["null", "string"], "default": None, "hil.personal": True},
    {"name": "something", "type": ["long", "null"], "default": 5},
    {"name": "colour", "type": "string", "default": "red"},
    {"name": "choice", "type": "string", "default": "a"},
    {"name": "money", "type": DECIMAL, "default": "\u0000\u0080"},
    {"name": "items", "type": {"type": "array", "items": "string"}, "default": []},
    {"name": "labels", "type": {"type": "map", "values": "string"}, "default": {}},
    {
        "name": "inner",
        "type": {
            "type": "record",
            "name": "Inner",
            "namespace": "hil",
            "fields": [{"name": "amount", "type": DECIMAL, "default": "\u00e9\u001c\u00a0"}],
        },
    },
    {"name": "others", "type": {"type": "array", "items": "hil.Inner"}, "default": []},
    {"name": "free", "type": {"type": "string", "hil.json": True}, "default": "null", "hil.personal": True},
    {"name": "shape", "type": {"type": "string", "hil.json": True}, "default": '{"ü":1}'},
]


def test_every_kind_of_field_has_its_avro_form() -> None:
    schema = record_schema(Sample)
    assert {key: schema[key] for key in schema if key != "fields"} == {
        "type": "record",
        "name": "SampleSetUp",
        "namespace": "hil",
        "doc": "What this is.",
    }
    assert schema["fields"] == FIELDS


def test_the_same_model_gives_the_same_text() -> None:
    assert json.dumps(record_schema(Sample)) == json.dumps(record_schema(Sample))


def test_a_type_without_an_avro_form_is_refused_by_name() -> None:
    class Odd(BaseModel):
        either: int | str

    with pytest.raises(TypeError, match=r"Odd\.either: .*AsJson"):
        record_schema(Odd)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [("null", 0x63DD24E7CC258F8A), ("int", 0x7275D51A3F395C8F), ("boolean", -6970731678124411036 % 2**64)],
)
def test_fingerprints_are_those_of_the_specifications_vectors(schema: str, expected: int) -> None:
    assert fingerprint(schema) == expected.to_bytes(8, "little")  # type: ignore[arg-type]


def bare(schema: Any) -> Any:
    """The specification's step [PRIMITIVES]: `{"type": "string", …}` → `"string"`. Apache's Python library leaves it out."""
    if isinstance(schema, list):
        return [bare(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema["type"] in PRIMITIVE_TYPES:
        return schema["type"]
    inner = {key: bare(schema[key]) for key in ("items", "values") if key in schema}
    fields = {"fields": [{**field, "type": bare(field["type"])} for field in schema["fields"]]} if "fields" in schema else {}
    return {**schema, **inner, **fields}


@pytest.mark.parametrize("kind", event_types())
def test_another_avro_library_computes_the_same_fingerprint(kind: str) -> None:
    model = event_types()[kind]
    parsed = avro.schema.parse(json.dumps(bare(record_schema(model))))
    assert parsed.fingerprint("CRC-64-AVRO") == current(model).fingerprint


def test_no_two_event_types_share_a_fingerprint() -> None:
    assert len({current(model).fingerprint for model in event_types().values()}) == len(event_types())
