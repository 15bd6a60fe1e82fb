"""How a model is held to an output schema: by its provider's own way, or, where it has none, by a tool it must call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agents.router.models import Model

_UNKNOWN_TO_CLAUDE = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "examples", "default",
)  # fmt: skip


def has_schemas(model: Model) -> bool:
    """Whether the model takes a JSON Schema as a response format."""
    return "structured_output" in model.capabilities and not model.schema_by_tool and "json_schema" not in model.lacks


def has_forced_tools(model: Model) -> bool:
    return "tools" in model.capabilities and "forced_tool" not in model.lacks


def in_words(schema: Mapping[str, Any]) -> str:
    """For a model that can be held to a schema by nothing else; our own check of the answer does the rest."""
    return (
        f"Answer with one JSON value that fits this JSON Schema, and with nothing else:\n{json.dumps(schema, ensure_ascii=False)}"
    )


WRAPPED = "value"


def wrapped(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """`schema` inside an object, for providers take objects alone; None when it is one, or cannot be moved.

    A reference to the whole schema would mean another after it.
    """
    if schema.get("type") == "object" or ("properties" in schema and "type" not in schema):
        return None
    inner = dict(schema)
    definitions: dict[str, Any] = {name: inner.pop(name) for name in ("$defs", "definitions") if name in inner}
    if _refers_to_root(schema):
        return None
    shape = {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED], "additionalProperties": False}
    return {**shape, **definitions}


def unwrapped(written: str) -> str:
    """The JSON text of what an answer holds that was asked for in a wrapper."""
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        return written
    held = isinstance(value, dict) and value.keys() == {WRAPPED}
    return json.dumps(value[WRAPPED], ensure_ascii=False) if held else written


def _refers_to_root(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_refers_to_root, schema))
    return isinstance(schema, Mapping) and (schema.get("$ref") == "#" or any(map(_refers_to_root, schema.values())))


_STRICT = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs", "definitions",
    "description", "title", "pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minItems", "maxItems", "$schema", "$id",
})  # fmt: skip
"""Keywords that OpenAI's strict mode takes (its guide to structured outputs, "Supported schemas")."""
_PLAIN = frozenset({"string", "number", "integer", "boolean", "null"})


def strict_ready(schema: Mapping[str, Any], *, root: bool = True) -> bool:
    """Whether OpenAI's strict mode takes it: a closed object as root, all properties required, no keyword it does not know."""
    if not isinstance(schema, Mapping) or not _STRICT.issuperset(schema):
        return False
    kind = schema.get("type")
    if root and (kind != "object" or "anyOf" in schema):
        return False
    if isinstance(kind, list) and not _PLAIN.issuperset(map(str, kind)):
        return False
    properties = schema.get("properties") or {}
    open_ended = schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(properties)
    if (kind == "object" or "properties" in schema) and open_ended:
        return False
    inner = [*properties.values(), *(schema.get("anyOf") or ())]
    inner += [each for name in ("$defs", "definitions") for each in (schema.get(name) or {}).values()]
    if "items" in schema:
        inner.append(schema["items"])
    return all(strict_ready(each, root=False) for each in inner)


def closed(schema: Any) -> Any:
    """`schema` as Anthropic compiles it: objects closed, without the limits it refuses; our own check of the answer has those.

    None when an object of it is open on purpose (a mapping with free keys), which Anthropic cannot promise.
    """
    if isinstance(schema, list):
        parts = [closed(each) for each in schema]
        return None if None in parts else parts
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _UNKNOWN_TO_CLAUDE}
    if schema.get("type") == "object" or "properties" in schema:
        if not schema.get("properties") or schema.get("additionalProperties") not in (None, False):
            return None
        kept["additionalProperties"] = False
    for key, value in kept.items():
        if key in ("enum", "const"):
            continue
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            made: Any = {name: closed(each) for name, each in value.items()}
            missing = None in made.values()
        else:
            made = closed(value)
            missing = made is None and value is not None
        if missing:
            return None
        kept[key] = made
    return kept
