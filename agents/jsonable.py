"""JSON as every part can carry it: what models, programs and tools hand over is made safe here, or refused in words."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64
_LARGEST_INT = 2**63


class NotJson(ValueError):
    """The value or text is not JSON that every reader of ours can carry. The message says what is wrong, for the model too."""


def parse(text: str) -> Any:
    """The JSON value in `text`, a fence of three backticks around it allowed. Raises NotJson."""
    try:
        return plain(json.loads(unfenced(text)))
    except RecursionError as error:
        raise NotJson(f"it is nested deeper than {MAX_DEPTH} levels") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"it is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except NotJson:
        raise
    except ValueError as error:  # an integer too long for Python
        raise NotJson("it holds a number that is too large") from error


def unfenced(text: str) -> str:
    """`text` without the markdown fence that models like to put around JSON."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```") and len(body) > 6 and "\n" in body:
        return body[body.index("\n") + 1 : -3].strip()
    return body


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as null, boolean, number, text, list or mapping with text keys. Raises NotJson when it cannot be one.

    Tuples and sets become lists, dates and decimals text, unpaired surrogates the replacement character.
    """
    if depth > MAX_DEPTH:
        raise NotJson(f"it is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        if -_LARGEST_INT <= value < _LARGEST_INT:
            return value
        raise NotJson("it holds an integer beyond 64 bits; write it as text")
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise NotJson(f"it holds {value}, which is not a JSON number; use null or text")
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item, depth + 1) for item in sorted(value, key=repr)]
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta)):
        return str(value)
    raise NotJson(f"it holds a {type(value).__name__}, which is not JSON; use text, numbers, lists and dicts")


def text(value: str) -> str:
    """`value` as text that UTF-8 can carry."""
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def digest(value: Any) -> str:
    """A short fingerprint of a JSON value, the same for the same value whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True, default=repr).encode()).hexdigest()[:16]


def shown(value: Any, limit: int = 20_000) -> str:
    """`value` as JSON text for a model's eyes, cut with a note when it is longer than `limit` characters."""
    written = json.dumps(value, ensure_ascii=False, default=repr)
    return written if len(written) <= limit else f"{written[:limit]}… (cut: {len(written)} characters in all)"


def _key(key: object) -> str:
    if isinstance(key, str):
        return text(key)
    if isinstance(key, (bool, int, float)) or key is None:
        return json.dumps(key)
    raise NotJson(f"it holds a mapping with a {type(key).__name__} as key; use text")
