"""JSON as a stranger wrote it: one meaning or a refusal in words. Never a crash, never a guess."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from schemas.codec.errors import Undecodable

MAX_DEPTH = 100
"""Lists and objects within each other."""
MAX_VALUES = 20_000
"""Values in all. A message of a megabyte may have half a million, and takes a tenth of a second wherever it is read."""
SMALLEST, LARGEST = -(2**63), 2**64 - 1
"""Integers that every reader of ours keeps exactly."""
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_BOM = "\ufeff"


def parse(value: bytes) -> Any:
    """The JSON value in `value` (UTF-8, a byte order mark is tolerated). Raises Undecodable.

    Refused beyond RFC 8259: the same key twice in an object, more than MAX_DEPTH levels or MAX_VALUES values, half a surrogate
    pair, numbers that are not finite as IEEE doubles, and integers outside SMALLEST..LARGEST.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        hint = "looks like UTF-16" if value[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte {error.start} does not fit"
        raise Undecodable("invalid_utf8", f"the value is not UTF-8 text: {hint}. Encode it as UTF-8.") from None
    return parse_text(text.removeprefix(_BOM))


def parse_text(text: str) -> Any:
    """`parse`, for what is text already."""
    if text.count(",") >= MAX_VALUES and _outside_texts(text).count(",") >= MAX_VALUES:
        many = f"the value holds more than {MAX_VALUES:,} values, in lists and objects together"
        raise Undecodable("too_many_values", f"{many}. Send fewer, or a link to the rest.")
    try:
        parsed = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Undecodable(
            "invalid_json", f"the value is not one JSON value: {error.msg} at {where}. Send a JSON object."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if text.count("[") + text.count("{") > MAX_DEPTH and depth(parsed) > MAX_DEPTH:
        raise _too_deep()
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(parsed)
    return parsed


def _outside_texts(text: str) -> str:
    """What stands between the texts of JSON; of what is no JSON, something."""
    return "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Undecodable(
            "duplicate_key", "a JSON object has the same key twice, so it is unclear which one is meant. Send each key once."
        )
    return made


def _integer(digits: str) -> int:
    # the length first: int() of very many digits is slow, and refused by Python itself
    if len(digits) <= 20 and SMALLEST <= (number := int(digits)) <= LARGEST:
        return number
    raise Undecodable("number_out_of_range", "an integer does not fit 64 bits. Send large numbers as text.")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise Undecodable("number_out_of_range", "a number is too large for a double. Send large numbers as text.")
    return number


def _constant(name: str) -> NoReturn:
    raise Undecodable("invalid_json", f"{name} is not JSON. Send null or text instead.")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _too_deep() -> Undecodable:
    return Undecodable("too_deep", f"lists and objects are nested more than {MAX_DEPTH} deep. Send a flatter value.")


def depth(value: Any) -> int:
    """How many lists and objects are within each other; without recursion, so that depth itself cannot hurt."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _refuse_lone_surrogates(parsed: Any) -> None:
    try:
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Undecodable(
            "lone_surrogate",
            "a \\u escape is half of a surrogate pair, which is no character. Send both halves, or the character itself.",
        ) from None
