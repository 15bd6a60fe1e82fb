"""How values are shown as JSON, in prompts and messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Compact JSON, as prompts and messages show values; several lines with `indent`."""
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(value, ensure_ascii=False, separators=separators, indent=indent, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)
