"""What models write around an answer: thoughts in tags, tool calls as text, JSON between words."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

from agents.jsonable import NotJson, parse, plain

_TAGS = "think|thinking|thought|thoughts|reasoning"
_OPENED = re.compile(rf"\s*<({_TAGS})>", re.I)
_CLOSED = re.compile(rf"</({_TAGS})>", re.I)
_MARKUP = re.compile(
    r"<tool_call>|<function_calls?>|<function=|<invoke name=|<\|tool_calls?(?:_begin|_section_begin)?\|>|<｜tool▁calls?▁begin｜>"
    r"|<\|python_tag\|>|\[TOOL_CALLS\]|<tool_code>",
    re.I,
)
_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_SEARCHED = 262_144
"""Characters of an answer that are looked through for markup."""
_MOST_FENCES = 4
_MOST_STARTS = 16
"""Places at which JSON may begin that are tried before a text counts as having none."""


def without_thoughts(written: str) -> str:
    """`written` without the thoughts at its beginning. Some models open them in their template, and only close them here.

    Thoughts that never end leave nothing.
    """
    at = 0
    while True:
        opened = _OPENED.match(written, at)
        closed = _CLOSED.search(written, opened.end() if opened is not None else at)
        if closed is None:
            return "" if opened is not None else written[at:].lstrip() if at else written
        if opened is None and written.find(f"<{closed.group(1)}>", at, closed.start()) >= 0:
            return written[at:].lstrip() if at else written  # a pair inside the answer
        at = closed.end()


def thinks(written: str) -> bool | None:
    """Whether a text that has only begun begins with thoughts; None while that is not to be seen yet."""
    begun = written.lstrip().lower()
    if _OPENED.match(begun):
        return True
    could_be = any(f"<{tag}>".startswith(begun) for tag in _TAGS.split("|"))
    return None if could_be else False


def tool_markup(written: str) -> str:
    """The mark by which a text is seen to be a tool call that its server did not read as one; empty for ordinary text."""
    found = _MARKUP.search(written, 0, _SEARCHED)
    return found.group() if found is not None else ""


def find_json(written: str) -> Any:
    """The one JSON value in `written`: all of it, what its one fence holds, or what stands between words. Raises NotJson."""
    try:
        return parse(written)
    except NotJson as error:
        whole = error
    blocks = (block.group(1) for block in islice(_FENCED.finditer(written), _MOST_FENCES))
    fenced = [value for value in map(_value_of, blocks) if value is not None]
    if len(fenced) == 1:
        return fenced[0]
    found = [] if fenced else _between_words(written)
    if len(found) != 1:
        raise whole
    return found[0]


def _value_of(text: str) -> Any:
    try:
        return parse(text)
    except NotJson:
        return None


def _between_words(written: str) -> list[Any]:
    """Objects and lists that stand in a text, one after the other. None where it holds more starts than an answer would."""
    found: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_MOST_STARTS):
        starts = [place for place in (written.find("{", at), written.find("[", at)) if place >= 0]
        if not starts:
            return found
        try:
            value, at = decoder.raw_decode(written, min(starts))
            if value not in ({}, []):
                found.append(plain(value))
        except (ValueError, RecursionError):
            at = min(starts) + 1
    return []
