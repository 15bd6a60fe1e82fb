"""Reads what an endpoint sent without trusting it: every value may be missing, or of another kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_LARGEST_COUNT = 1_000_000_000
_EMPTY: Mapping[str, Any] = {}


class Unreadable(Exception):
    """The endpoint answered with something that is not what its wire promises. Says what, in words without secrets."""

    def __init__(self, words: str, *, code: str = "not_an_answer") -> None:
        super().__init__(words)
        self.code = code


def decoded(raw: bytes | bytearray) -> Any:
    """The JSON value in `raw`. Raises Unreadable with code `bad_json`."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:  # the standard library takes what is common and strictly no JSON: NaN, unpaired surrogates, a byte order mark
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON ({type(error).__name__})", code="bad_json") from None


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _EMPTY


def items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """A number of text tokens; None when it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return int(value) if 0 <= value <= _LARGEST_COUNT and value == int(value) else None


def index(value: Any) -> int:
    """The place of a part in an answer, 0 when the endpoint does not say."""
    return count(value) or 0
