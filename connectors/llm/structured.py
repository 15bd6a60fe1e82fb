"""How a model is held to an output schema: by its provider's own way, or, where it has none, by a tool it must call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.router.models import Model

_UNKNOWN_TO_CLAUDE = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "examples", "default",
)  # fmt: skip


def has_schemas(model: Model) -> bool:
    """Whether the model takes a JSON Schema as a response format."""
    return "structured_output" in model.capabilities and not model.schema_by_tool


def strict_ready(schema: Any) -> bool:
    """Whether every object in it lists all properties as required and allows no others, which OpenAI's strict mode asks for."""
    if isinstance(schema, list):
        return all(strict_ready(each) for each in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties") or {}
    is_object = schema.get("type") == "object" or "properties" in schema
    open_ended = schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(properties)
    if is_object and open_ended:
        return False
    inner = [value for key, value in schema.items() if key not in ("properties", "enum", "const", "default", "examples")]
    return all(strict_ready(value) for value in [*properties.values(), *inner])


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
