"""What an endpoint turns out not to take, from how it refuses a request that others would take: it is asked once more without.

Every endpoint has its own idea of one API. What it lacks is remembered for as long as the process lives; the catalogue's `lacks`
says it from the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.router.models import Lack
from connectors.llm.reading import items, mapping

MOST_STEPS = 4
"""How often one call is asked anew with less."""


@dataclass(frozen=True, slots=True)
class _Sign:
    """How a request shows that it uses an ability, and how an endpoint's words show that it is the one refused."""

    lack: Lack
    used: Callable[[Mapping[str, Any]], bool]
    words: re.Pattern[str]


def _schema_format(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The description of a JSON Schema that the answer has to fit, in whichever field the wire has it."""
    described = mapping(mapping(body.get("response_format")).get("json_schema"))
    return (
        described or mapping(mapping(body.get("text")).get("format")) or mapping(mapping(body.get("output_config")).get("format"))
    )


def _has_null_content(body: Mapping[str, Any]) -> bool:
    return any(message.get("content", "") is None for message in map(mapping, items(body.get("messages"))))


def _has_own_fields(body: Mapping[str, Any]) -> bool:
    usual = {"role", "content", "tool_calls", "tool_call_id"}
    return any(
        message.keys() - usual
        or any(call.keys() - {"id", "type", "function"} for call in map(mapping, items(message.get("tool_calls"))))
        for message in map(mapping, items(body.get("messages")))
    )


def _has_calls(body: Mapping[str, Any]) -> bool:
    return any(message.get("tool_calls") for message in map(mapping, items(body.get("messages"))))


_SIGNS = (
    _Sign(
        "strict",
        lambda body: bool(_schema_format(body).get("strict")),
        re.compile(r"\bstrict\b|additionalProperties|schema", re.I),
    ),
    _Sign(
        "json_schema",
        lambda body: bool(_schema_format(body)),
        re.compile(r"response[_ ]format|json[_ ]?schema|structured[_ ]output|output_config|text\.format|schema|grammar", re.I),
    ),
    _Sign("max_completion_tokens", lambda body: "max_completion_tokens" in body, re.compile(r"max_(?:completion_)?tokens", re.I)),
    _Sign(
        "max_tokens",
        lambda body: "max_tokens" in body,
        re.compile(r"max_completion_tokens|max_tokens\W+(?:is|are) (?:not|un)", re.I),
    ),
    _Sign("stream_options", lambda body: "stream_options" in body, re.compile(r"stream_options|include_usage", re.I)),
    _Sign("temperature", lambda body: "temperature" in body, re.compile(r"temperature", re.I)),
    _Sign("null_content", _has_null_content, re.compile(r"\bcontent\b|valid string|\bnull\b|\bNone\b")),
    _Sign(
        "forced_tool", lambda body: body.get("tool_choice") not in (None, "auto", "none"), re.compile(r"tool_choice|forced", re.I)
    ),
    _Sign("no_calls", lambda body: _names_none(body.get("tool_choice")), re.compile(r"tool_choice", re.I)),
    _Sign("call_ids", _has_calls, re.compile(r"\bids?\b.*\blength\b|call[_ ]id", re.I)),
    _Sign(
        "own_fields",
        _has_own_fields,
        re.compile(r"reasoning|signature|extra|unsupported|unknown|unrecogni[sz]ed|not permitted", re.I),
    ),
)


def _names_none(choice: Any) -> bool:
    return choice == "none" or mapping(choice).get("type") == "none"


def lacking(status: int, words: str, body: Mapping[str, Any]) -> Lack | None:
    """What the endpoint may lack that refused `body` so; None when its refusal has another reason.

    A server error for a JSON Schema counts too: some servers fall over it.
    """
    used = [sign for sign in _SIGNS if sign.used(body)]
    if status in (400, 422, 501):
        found = next((sign.lack for sign in used if sign.words.search(words)), None)
        if found is not None:
            return found
    if status in (500, 501) and (_schema_format(body) or _has_null_content(body)):
        described = [sign for sign in used if sign.lack in ("null_content", "json_schema")]
        named = next((sign.lack for sign in described if sign.words.search(words)), None)
        return named or described[0].lack
    return None
