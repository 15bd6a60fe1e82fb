"""Python values as Postgres accepts them. Text of customers may hold what no Postgres text can; it is replaced, never refused."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_LATEST_MS = (_LATEST - _EPOCH) // timedelta(milliseconds=1)
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_EARLIEST_MS = (_EARLIEST - _EPOCH) // timedelta(milliseconds=1)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and lone surrogates: legal in JSON strings, refused by Postgres."""
REPLACEMENT = "\ufffd"


def clean_text(text: str) -> str:
    """`text` with U+FFFD for each character Postgres cannot hold."""
    return _UNSTORABLE.sub(REPLACEMENT, text) if _UNSTORABLE.search(text) else text


def json_text(value: Any) -> str:
    """Any JSON value as text that jsonb accepts, in one canonical form.

    NaN and infinities become null, as in ECMAScript; what is nested too deeply to write becomes a note that says so.
    """
    try:
        try:
            text = _dumps(value)
        except ValueError:  # not finite somewhere
            return _dumps(_clean(value))
        return _dumps(_clean(value)) if "\\u0000" in text or _UNSTORABLE.search(text) else text
    except RecursionError:
        return _dumps({"not_stored": "nested too deeply"})


def moment(ms: int) -> datetime:
    """Milliseconds since 1970 as a timestamp, exactly; an end of the calendar for what lies beyond."""
    if _EARLIEST_MS <= ms <= _LATEST_MS:
        return _EPOCH + timedelta(milliseconds=ms)
    return _LATEST if ms > 0 else _EARLIEST


def millis(at: datetime | None) -> int | None:
    """The inverse of `moment`."""
    return None if at is None else (at - _EPOCH) // timedelta(milliseconds=1)


def from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean_text(value)
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {clean_text(str(key)): _clean(item) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
        case _:
            return value
