"""Values within what a JSON Schema allows a string or a number: patterns, lengths, bounds, multiples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.rehearsal.extraction import EMAIL


def fits(value: str, schema: Mapping[str, Any]) -> bool:
    """Whether a string has the schema's pattern and format."""
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        try:
            return re.search(pattern, value) is not None
        except re.error:
            return True
    return schema.get("format") != "email" or EMAIL.fullmatch(value) is not None


def cut(value: str, schema: Mapping[str, Any]) -> str:
    """The string no longer, and no shorter, than the schema allows."""
    most = schema.get("maxLength")
    value = value[:most] if isinstance(most, int) else value
    return value.ljust(int(schema.get("minLength") or 0), ".")


def neutral(schema: Mapping[str, Any]) -> Any:
    """A string that claims nothing: the schema's default or example, else empty, or as long as it must be."""
    given = [schema.get("default"), *(schema.get("examples") or ())]
    for value in given:
        if isinstance(value, str) and fits(value, schema):
            return value
    stand_ins = {
        "date": "1970-01-01",
        "date-time": "1970-01-01T00:00:00Z",
        "email": "nobody@example.com",
        "uri": "https://example.com",
    }
    value = stand_ins.get(str(schema.get("format")), "")
    return cut(value or ("unknown" if schema.get("minLength") else ""), schema)


def within(value: float, kind: str, schema: Mapping[str, Any]) -> float | int:
    """The number moved into the schema's bounds, to a multiple it asks for."""
    step = 1.0 if kind == "integer" else 1e-6
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(under := schema.get("exclusiveMinimum"), int | float) and not isinstance(under, bool):
        low = max(under + step, low if isinstance(low, int | float) else under + step)
    if isinstance(over := schema.get("exclusiveMaximum"), int | float) and not isinstance(over, bool):
        high = min(over - step, high if isinstance(high, int | float) else over - step)
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(high, int | float):
        value = min(value, high)
    multiple = schema.get("multipleOf")
    if isinstance(multiple, int | float) and multiple > 0:
        value = -(-value // multiple) * multiple
    return int(-(-value // 1)) if kind == "integer" else value
