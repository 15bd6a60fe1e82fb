"""How values are shown as JSON, in prompts and messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2.runtime import Undefined

from schemas.workflow.bounds import MAX_TEXT, Bag, Budget, TooMuch

WRITE = 50
"""Units for one call of the writer, beside what it writes."""


def as_json(value: Any, budget: Budget, *, indent: int | None = None) -> str:
    """Compact JSON, as prompts and messages show values; several lines with `indent`. Paid for before it is written."""
    price = budget.price(value)
    if budget.characters > MAX_TEXT:
        raise TooMuch(f"a text would have more than {MAX_TEXT:,} characters")
    budget.spend((10 * WRITE + price * 10 if indent else WRITE + price) + (budget.characters >> 3))
    written = _encode(value) if not indent else _encode_lines(value, indent)
    budget.written(len(written))
    return written


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Bag):
        return sorted(value, key=str)
    if isinstance(value, Undefined):
        return ""
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _encode_lines(value: Any, indent: int) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ": "), indent=indent, default=_plain)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode
