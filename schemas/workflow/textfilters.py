"""The filters of prompts that work on texts and numbers. Each takes the render's budget first and pays before it works."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from jinja2.runtime import Undefined

from schemas.workflow import methods
from schemas.workflow.bounds import MAX_TEXT, Budget, TooMuch, numeral
from schemas.workflow.jsontext import as_json
from schemas.workflow.values import text

MAX_DIGITS = 20
_WORD = re.compile(r"\w+")
_BEGINNING = re.compile(r"([-\s({\[<]+)")


def _method(name: str) -> Callable[..., str]:
    def filtered(budget: Budget, value: str, *arguments: Any) -> str:
        return str(methods.call(value, name, arguments, {}, budget))

    return filtered


def _replace(budget: Budget, value: str, old: Any, new: Any, count: int | None = None) -> str:
    return methods.replace(budget, value, text(old, budget), text(new, budget), -1 if count is None else count)


def _title(budget: Budget, value: str) -> str:
    budget.written(len(value))
    budget.spend(4 * len(value))
    return "".join([part[0].upper() + part[1:].lower() for part in _BEGINNING.split(value) if part])


def _words(budget: Budget, value: str) -> int:
    budget.spend(4 * len(value))
    return len(_WORD.findall(value))


def _truncate(budget: Budget, value: str, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5) -> str:
    if len(value) <= length + leeway:
        return value
    kept = value[: max(0, length - len(end))]
    return (kept if killwords else kept.rsplit(" ", 1)[0]) + end


def _indent(budget: Budget, value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * width
    count = value.count("\n") + 1
    if count * len(margin) + len(value) > MAX_TEXT:
        raise TooMuch("an indented text would be too long")
    budget.written(len(value) + count * len(margin))
    budget.spend(6 * count)
    lines = value.split("\n")
    indented = [margin + line if (line or blank) else line for line in lines[1:]]
    return "\n".join([margin + lines[0] if first else lines[0], *indented])


def _wrap(budget: Budget, value: str, width: int = 79, break_long_words: bool = True, wrapstring: str = "\n") -> str:
    """Breaks lines at spaces, and words that are longer than a line."""
    if width < 1:
        raise ValueError("wordwrap() needs a width of at least 1")
    budget.spend(6 * len(value))
    lines: list[str] = []
    for line in value.splitlines():
        current = ""
        for word in line.split():
            while break_long_words and len(word) > width:
                budget.spend(10 + (len(word) >> 3))
                room = width - len(current) - 1 if current else width
                if room < 1:
                    lines.append(current)
                    current = ""
                    continue
                lines.append(f"{current} {word[:room]}" if current else word[:room])
                current, word = "", word[room:]
            if current and len(current) + 1 + len(word) > width:
                lines.append(current)
                current = word
            else:
                budget.spend(1 + (len(current) >> 3))
                current = f"{current} {word}" if current else word
        lines.append(current)
    return methods.joined(budget, wrapstring, lines)


def _striptags(budget: Budget, value: str) -> str:
    """Without comments and tags, each found from where the last one ended; white space becomes one space."""
    budget.written(len(value))
    budget.spend(4 * len(value))
    kept: list[str] = []
    at = 0
    ends: dict[str, int] = {}
    while (start := value.find("<", at)) >= 0:
        mark = "-->" if value.startswith("<!--", start) else ">"
        if ends.get(mark, 0) != -1:  # none is left once none was found
            ends[mark] = value.find(mark, start)
        kept.append(value[at:start])
        if ends[mark] < 0:
            kept.append("<")
            at = start + 1
        else:
            at = ends[mark] + len(mark)
    kept.append(value[at:])
    return html.unescape(" ".join("".join(kept).split()))


def _escape(budget: Budget, value: str) -> str:
    budget.spend(len(value) >> 1)
    budget.written(len(value) + 5 * sum([value.count(mark) for mark in "&<>'\""]))
    return html.escape(value)


def _urlencode(budget: Budget, value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return _quoted(budget, text(value, budget), "/")
    pairs = budget.listed(value.items() if isinstance(value, Mapping) else value)
    parts = [f"{_quoted(budget, text(key, budget))}={_quoted(budget, text(item, budget))}" for key, item in pairs]
    return methods.joined(budget, "&", parts)


def _quoted(budget: Budget, value: str, safe: str = "") -> str:
    budget.written(len(value) if value.isascii() else 12 * len(value))
    budget.spend(20 + 5 * len(value))
    return quote(value.encode("utf-8", "replace"), safe=safe)


def _tojson(budget: Budget, value: Any, indent: int | None = None) -> str:
    return as_json(None if isinstance(value, Undefined) else value, budget, indent=min(indent, 8) if indent else None)


def _int(budget: Budget, value: Any, default: Any = 0, base: int = 10) -> Any:
    value = numeral(budget, value)
    try:
        return int(value, base) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        try:
            return int(float(value))
        except (TypeError, ValueError, OverflowError):
            return default


def _float(budget: Budget, value: Any, default: Any = 0.0) -> Any:
    value = numeral(budget, value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _round(budget: Budget, value: Any, precision: int = 0, method: str = "common") -> Any:
    if method not in {"common", "ceil", "floor"}:
        raise ValueError("round() knows the methods common, ceil and floor")
    if abs(precision) > MAX_DIGITS:
        raise TooMuch(f"round() takes at most {MAX_DIGITS} digits")
    budget.weigh(value)
    if method == "common":
        return round(value, precision)
    return getattr(math, method)(value * (10**precision)) / (10**precision)


def _abs(budget: Budget, value: Any) -> Any:
    return abs(budget.weigh(value))


def _filesize(budget: Budget, value: Any, binary: bool = False) -> str:
    size, base = float(numeral(budget, value)), 1024 if binary else 1000
    if size == 1:
        return "1 Byte"
    if size < base:
        return f"{int(size)} Bytes"
    power = next((power for power in range(1, 8) if size < base ** (power + 1)), 8)
    return f"{size / base**power:.1f} {'kMGTPEZY'[power - 1] if not binary else 'KMGTPEZY'[power - 1]}{'iB' if binary else 'B'}"


def _text(budget: Budget, value: str) -> str:
    return value


OF_TEXT: Mapping[str, Callable[..., Any]] = {
    **{name: _method(name) for name in ("capitalize", "lower", "upper")},
    "trim": _method("strip"),
    "title": _title,
    "wordcount": _words,
    "truncate": _truncate,
    "indent": _indent,
    "wordwrap": _wrap,
    "striptags": _striptags,
    "escape": _escape,
    "e": _escape,
    "replace": _replace,
    "string": _text,
    "safe": _text,
}
"""Given the value as text."""
OF_VALUE: Mapping[str, Callable[..., Any]] = {
    "urlencode": _urlencode,
    "tojson": _tojson,
    "int": _int,
    "float": _float,
    "round": _round,
    "abs": _abs,
    "filesizeformat": _filesize,
}
