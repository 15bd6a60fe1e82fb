"""Remembers which model each conversation's node was on, and how much of its next request the provider has seen before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from agents.ports import ChatMessage

CACHE_S = 300.0
"""Providers keep a prompt's prefix for five minutes after its last use."""
SHORTEST_PREFIX = 1_024
"""Text tokens; providers cache nothing shorter."""
MAX_CONVERSATIONS = 10_000


class Seen(NamedTuple):
    model: str
    marks: tuple[int, ...]
    """One a message: equal messages have equal marks."""
    characters: tuple[int, ...]
    """Of the messages up to this one."""
    input_text_tokens: int
    at_s: float


class Conversations:
    """The latest requests, forgotten oldest first."""

    def __init__(self, limit: int = MAX_CONVERSATIONS) -> None:
        self._seen: OrderedDict[tuple[str, str], Seen] = OrderedDict()
        self._limit = limit

    def current(self, key: tuple[str, str], messages: Sequence[ChatMessage], now_s: float) -> tuple[str, int] | None:
        """(model, text tokens of this request's prefix that its provider may still hold), None when it can hold none."""
        seen = self._seen.get(key)
        if seen is None or now_s - seen.at_s > CACHE_S:
            return None
        common = 0
        for message, mark in zip(messages, seen.marks, strict=False):
            if _mark(message) != mark:
                break
            common += 1
        if not common or not seen.characters[-1]:
            return None
        held = seen.input_text_tokens * seen.characters[common - 1] // seen.characters[-1]
        return (seen.model, held) if held >= SHORTEST_PREFIX else None

    def asked(
        self, key: tuple[str, str], model: str, messages: Sequence[ChatMessage], input_text_tokens: int, now_s: float
    ) -> None:
        """This request was answered by this model."""
        total, characters = 0, []
        for message in messages:
            total += len(message.content) + sum(len(call.raw) + len(call.name) for call in message.tool_calls)
            characters.append(total)
        self._seen[key] = Seen(model, tuple(map(_mark, messages)), tuple(characters), input_text_tokens, now_s)
        self._seen.move_to_end(key)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)


def _mark(message: ChatMessage) -> int:
    return hash((message.role, message.content, message.tool_call_id, tuple(call.id for call in message.tool_calls)))
