"""What a call used, in one meaning for all providers (agents.ports.Usage), from counts that may be missing or wrong.

A total that cannot be right makes the whole count unusable: None, and the router estimates. A part that cannot be right
(more read from the cache than was sent) is dropped, so that everything is booked at the full price and never at a discount.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.ports import ChatRequest, Usage
from connectors.llm.reading import count, mapping

CHARACTERS_A_TOKEN = 4
"""For what no endpoint counted."""


def of_chat(said: Any) -> Usage | None:
    """Chat completions. `prompt_tokens` has the cached ones; `completion_tokens` the reasoning, except at endpoints whose
    total shows that they left it out."""
    usage = mapping(said)
    given, written = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if given is None or written is None:
        return None
    read = mapping(usage.get("prompt_tokens_details"))
    thought = count(mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")) or 0
    if thought and count(usage.get("total_tokens")) == given + written + thought:
        written += thought
    return _sane(given, count(read.get("cached_tokens")), count(read.get("cache_write_tokens")), written, thought)


def of_responses(said: Any) -> Usage | None:
    """OpenAI's Responses API. `input_tokens` has the cached ones, `output_tokens` the reasoning."""
    usage = mapping(said)
    given, written = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if given is None or written is None:
        return None
    read = mapping(usage.get("input_tokens_details"))
    thought = count(mapping(usage.get("output_tokens_details")).get("reasoning_tokens"))
    return _sane(given, count(read.get("cached_tokens")), count(read.get("cache_write_tokens")), written, thought)


def of_messages(said: Any) -> Usage | None:
    """Anthropic. `input_tokens` has neither what was read from the cache nor what was written to it."""
    usage = mapping(said)
    fresh, written = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    cached = _stated(usage, "cache_read_input_tokens")
    stored = _stated(usage, "cache_creation_input_tokens")
    if fresh is None or written is None or cached is None or stored is None:
        return None
    thought = count(mapping(usage.get("output_tokens_details")).get("thinking_tokens"))
    return _sane(fresh + cached + stored, cached, stored, written, thought)


def guessed(request: ChatRequest) -> int:
    """Text tokens of a request nobody counted, without its tools: the router knows better, if it is there."""
    return tokens(sum(len(message.content) + sum(len(call.raw) for call in message.tool_calls) for message in request.messages))


def tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_A_TOKEN)


def _stated(usage: Mapping[str, Any], name: str) -> int | None:
    """0 when it is not said; None when what is said cannot be a count: then the input's total is not known."""
    value = usage.get(name)
    return 0 if value is None else count(value)


def _sane(given: int, cached: int | None, stored: int | None, written: int, thought: int | None) -> Usage | None:
    """None for an input of nothing: a request was sent, so whoever counts nothing has not counted."""
    if not given:
        return None
    cached, stored, thought = cached or 0, stored or 0, thought or 0
    if cached + stored > given:
        cached = stored = 0
    return Usage(given, cached, stored, written, thought if thought <= written else 0)
