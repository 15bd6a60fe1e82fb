"""Our requests and replies in the shapes of OpenAI's chat completions. Translates; calls nobody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionMessageFunctionToolCall

from agents.jsonable import NotJson, parse, text
from agents.names import WireNames
from agents.ports import ChatMessage, ChatReply, ChatRequest, ToolCall
from connectors.llm.profiles import Model

CHARACTERS_A_TOKEN = 4
"""For replies whose endpoint does not count."""


class Unreadable(Exception):
    """The endpoint answered with something that is no chat completion."""


def names_of(request: ChatRequest) -> WireNames:
    """Tool names for the whole conversation: tools offered now, and tools called earlier."""
    called = (call.name for message in request.messages for call in message.tool_calls)
    return WireNames([*(spec.name for spec in request.tools), *called])


def body(request: ChatRequest, model: Model, names: WireNames, *, limit_field: str) -> dict[str, Any]:
    """The keyword arguments of `chat.completions.create`."""
    made: dict[str, Any] = {
        "model": model.wire,
        "messages": [_message(message, names) for message in request.messages],
        limit_field: request.max_tokens,
    }
    if request.temperature is not None and not model.fixed_temperature:
        made["temperature"] = request.temperature
    if request.tools:
        made["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": names.to_wire(spec.name),
                    "description": text(spec.description)[:1024],
                    "parameters": dict(spec.parameters) or {"type": "object", "properties": {}},
                },
            }
            for spec in request.tools
        ]
    if request.output_schema is not None:
        schema = dict(request.output_schema)
        made["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": schema, "strict": strict_ready(schema)},
        }
    return made


def strict_ready(schema: Any) -> bool:
    """Whether every object in it lists all properties as required and allows no others, which OpenAI's strict mode asks for."""
    if isinstance(schema, list):
        return all(strict_ready(each) for each in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties") or {}
    is_object = schema.get("type") == "object" or "properties" in schema
    open_ended = schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(properties)
    if is_object and open_ended:
        return False
    inner = [value for key, value in schema.items() if key not in ("properties", "enum", "const", "default", "examples")]
    return all(strict_ready(value) for value in [*properties.values(), *inner])


def reply(completion: ChatCompletion, model: Model, names: WireNames, request: ChatRequest, *, latency_ms: int) -> ChatReply:
    """Our reply from theirs. Raises Unreadable when it is not a chat completion with a choice."""
    choices = getattr(completion, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise Unreadable(f"no choice in its answer ({str(completion)[:200]!r})")
    message, finish = choices[0].message, choices[0].finish_reason
    content = message.content if isinstance(message.content, str) else ""
    refused = message.refusal or ("stopped by the provider's content filter" if finish == "content_filter" else None)
    calls = tuple(
        _call(place, call, names)
        for place, call in enumerate(message.tool_calls or (), 1)
        if isinstance(call, ChatCompletionMessageFunctionToolCall) and call.function is not None
    )
    used = _usage(completion, request, content)
    return ChatReply(
        text=text(refused or content),
        tool_calls=() if refused else calls,
        provider=model.provider,
        model=model.name,
        input_text_tokens=used[0],
        output_text_tokens=used[1],
        cached_text_tokens=used[2],
        cost_micro_usd=model.price.micro_usd(input_text_tokens=used[0], output_text_tokens=used[1], cached_text_tokens=used[2]),
        latency_ms=latency_ms,
        finish_reason="refusal" if refused else str(finish or "stop"),
    )


def _message(message: ChatMessage, names: WireNames) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": text(message.content)}
    if message.tool_calls:
        made["content"] = made["content"] or None
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                # arguments that were no JSON are not quoted back: some servers parse them again and fail
                "function": {"name": names.to_wire(call.name), "arguments": json.dumps(dict(call.arguments or {}))},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made


def _call(place: int, call: ChatCompletionMessageFunctionToolCall, names: WireNames) -> ToolCall:
    raw = call.function.arguments if isinstance(call.function.arguments, str) else ""
    try:
        arguments = parse(raw) if raw.strip() else {}
    except NotJson:
        arguments = None
    known = arguments if isinstance(arguments, dict) else None
    return ToolCall(call.id or f"call_{place}", names.from_wire(call.function.name or ""), known, text(raw))


def _usage(completion: ChatCompletion, request: ChatRequest, content: str) -> tuple[int, int, int]:
    """(input, output, cached) tokens; estimated from characters when the endpoint does not say."""
    usage = completion.usage
    if usage is None or not usage.total_tokens:
        asked = sum(len(message.content) for message in request.messages)
        return -(-asked // CHARACTERS_A_TOKEN), -(-len(content) // CHARACTERS_A_TOKEN), 0
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens if details else 0) or 0
    return max(0, usage.prompt_tokens or 0), max(0, usage.completion_tokens or 0), max(0, cached)
