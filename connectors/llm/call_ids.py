"""Ids of tool calls as every provider takes them: each one's own in its conversation, of letters it knows, not too long."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace

from agents.ports import ChatMessage

_TAKEN = re.compile(r"[!-~]{1,64}")
_TAKEN_BY_ANTHROPIC = re.compile(r"[A-Za-z0-9_-]{1,64}")
SHORT = 9
"""Mistral's: just so many letters and digits."""


def with_call_ids(messages: Sequence[ChatMessage], provider: str, *, short: bool = False) -> tuple[ChatMessage, ...]:
    """`messages` with an id for each call that no other has, and the same one at its result. Good ids stay as they are.

    Results of calls with equal ids belong to them in order. `short`: every id in SHORT letters and digits.
    """
    used: set[str] = set()
    taken = _TAKEN_BY_ANTHROPIC if provider == "anthropic" else _TAKEN
    waiting: defaultdict[str, deque[str]] = defaultdict(deque)
    made = []
    for place, message in enumerate(messages):
        if message.tool_calls:
            waiting.clear()
            calls = []
            for number, call in enumerate(message.tool_calls):
                good = taken.fullmatch(call.id) is not None and call.id not in used and not short
                identity = call.id if good else _made(f"{place}/{number}/{call.id}", short)
                used.add(identity)
                waiting[call.id].append(identity)
                calls.append(call if good else replace(call, id=identity))
            message = replace(message, tool_calls=tuple(calls))
        elif message.tool_call_id is not None and waiting.get(message.tool_call_id):
            message = replace(message, tool_call_id=waiting[message.tool_call_id].popleft())
        made.append(message)
    return tuple(made)


def _made(seed: str, short: bool) -> str:
    digest = hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()
    return digest[:SHORT] if short else f"call_{digest[:16]}"
