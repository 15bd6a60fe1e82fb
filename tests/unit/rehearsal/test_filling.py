"""JSON output: valid against the schema, and nothing in it that the message did not say."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from connectors.rehearsal.model import RehearsalModel
from tests.unit.rehearsal.asking import ask, fill

MESSAGE = "Sort this.\n<message>\nHi, my order #1001 is late. Write to ada@example.com. I paid 49,90 €.\n</message>"
TEXT = {"type": "string"}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": TEXT, "b": {"type": "integer"}}, "required": ["a", "b", "c"]},
    {"type": "object", "properties": {"n": {"type": "number", "exclusiveMinimum": 2, "maximum": 3}}, "required": ["n"]},
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "multipleOf": 4}}, "required": ["n"]},
    {"type": "object", "properties": {"s": {"type": "string", "minLength": 12, "maxLength": 14}}, "required": ["s"]},
    {"type": "object", "properties": {"when": {"type": "string", "format": "date"}}, "required": ["when"]},
    {
        "type": "object",
        "properties": {"x": {"type": ["string", "null"]}, "y": {"anyOf": [TEXT, {"type": "null"}]}},
        "required": ["x", "y"],
    },
    {
        "type": "object",
        "properties": {"k": {"const": 7}, "e": {"enum": [3, 4]}, "z": {"type": "null"}},
        "required": ["k", "e", "z"],
    },
    {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "object", "properties": {"v": {"type": "boolean"}}, "required": ["v"]}, "minItems": 2},
    {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": TEXT}, "required": ["v"]}},
    },
    {
        "allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}],
        "type": "object",
    },
    {"type": "object", "properties": {"severity": {"enum": ["low", "medium", "high", "critical"]}}, "required": ["severity"]},
    {"type": "object", "additionalProperties": False},
    {"type": "boolean"},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_output_fits_its_schema(model: RehearsalModel, schema: dict[str, Any]) -> None:
    jsonschema.validate(fill(model, MESSAGE, schema), schema)


def test_entities_are_what_the_message_says_and_nothing_else(model: RehearsalModel) -> None:
    entities = {
        "type": "object",
        "properties": {
            "order_id": TEXT,
            "customer_email": TEXT,
            "amount": {"type": "number"},
            "tracking_number": TEXT,
            "phone": TEXT,
            "return_date": {"type": ["string", "null"]},
        },
        "required": ["return_date"],
    }
    assert fill(model, MESSAGE, entities) == {
        "order_id": "1001",
        "customer_email": "ada@example.com",
        "amount": 49.9,
        "return_date": None,
    }


def test_an_order_named_earlier_stands_for_it(model: RehearsalModel) -> None:
    """A follow-up that says `it` is about the order of the conversation; a bare number continues the earlier question."""
    schema = {
        "type": "object",
        "properties": {"intent": {"enum": ["order_status", "return_request", "other"]}, "order_id": {"type": ["string", "null"]}},
        "required": ["intent", "order_id"],
    }
    prompt = "What was said before, oldest first:\ncustomer: {before}\nagent: Which order?\n\n<message>\n{now}\n</message>"
    later = fill(model, prompt.format(before="When does order 1007 arrive?", now="And can I send it back?"), schema)
    assert later == {"intent": "return_request", "order_id": "1007"}
    number = fill(model, prompt.format(before="My parcel has not arrived", now="#1002"), schema)
    assert number == {"intent": "order_status", "order_id": "1002"}


def test_a_schema_that_is_none_is_refused_in_openais_terms(model: RehearsalModel) -> None:
    from connectors.rehearsal.wire import Refused

    with pytest.raises(Refused, match="Invalid schema"):
        fill(model, MESSAGE, {"type": "no such type"})


def test_json_object_follows_the_keys_a_prompt_shows(model: RehearsalModel) -> None:
    prompt = 'Answer as {"intent": "order_status|complaint", "confidence": 0.5}.\nMessage: "where is my parcel?"'
    text = ask(model, prompt, response_format={"type": "json_object"}).text
    assert '"intent": "order_status"' in text
    assert '"confidence"' in text
    assert "(rehearsal model)" in text


def test_the_customers_words_are_found_in_prompts_without_tags(model: RehearsalModel) -> None:
    schema = {"type": "object", "properties": {"order_id": TEXT}}
    for prompt in (
        'Extract the order. Customer message: "where is 1044, my order?"\nExample: order 9999',
        "Extract the order (for example #9999).\n\nMessage: my order 1044 is late\n\nRules: be brief",
        "Extract the order, for example #9999.\n\nwhere is order 1044?",
    ):
        assert fill(model, prompt, schema) == {"order_id": "1044"}, prompt
