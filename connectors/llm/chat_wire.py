"""OpenAI's chat completions, spoken by OpenAI and by every compatible server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.jsonable import text
from agents.names import WireNames
from agents.ports import ChatMessage, ChatRequest, ToolSpec, Usage
from agents.router.models import Model
from connectors.llm import usage
from connectors.llm.failures import error_object
from connectors.llm.reading import Unreadable, count, index, items, mapping, string
from connectors.llm.said import (
    FILTERED,
    OUTPUT_TOOL,
    Names,
    Said,
    arguments_of,
    attached_to,
    described,
    ended,
    limit_of,
    tool_call,
    with_schema_in_words,
)
from connectors.llm.sse import DONE
from connectors.llm.structured import has_forced_tools, has_schemas, strict_ready

_ENDS = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
}
"""What compatible servers call a good end, or one that was cut. Any other reason is no answer."""


@dataclass(frozen=True, slots=True)
class ChatWire:
    limit_field: str = "max_tokens"
    """OpenAI's own models want `max_completion_tokens`; other servers know the old name."""
    path: str = "/chat/completions"
    forbids_calls: bool = False
    """Whether it heeds `tool_choice: none`. Where it may not, tools that must not be called are not shown."""

    def body(self, model: Model, request: ChatRequest, names: Names, *, stream: bool) -> dict[str, Any]:
        schema, messages = request.output_schema, request.messages
        by_tool = schema is not None and not has_schemas(model) and has_forced_tools(model)
        if schema is not None and not by_tool and not has_schemas(model):
            messages = with_schema_in_words(messages, schema)
        made: dict[str, Any] = {
            "model": model.wire,
            "messages": [_message(message, names, model) for message in messages],
            self._limit_field(model): limit_of(model, request),
        }
        if request.temperature is not None and not model.fixed_temperature and "temperature" not in model.lacks:
            made["temperature"] = request.temperature
        shown = request.use_tools or (self.forbids_calls and not by_tool and "no_calls" not in model.lacks)
        tools = [_tool(spec, names) for spec in request.tools] if shown else []
        if tools and not request.use_tools:
            made["tool_choice"] = "none"
        if by_tool:
            only = {"type": "function", "function": {"name": OUTPUT_TOOL}}
            made["tool_choice"] = "required" if tools else only
            tools.append({"type": "function", "function": {"name": OUTPUT_TOOL, "parameters": dict(schema or {})}})
        elif schema is not None and has_schemas(model):
            strict = "strict" not in model.lacks and strict_ready(schema)
            described_schema = {"name": "output", "schema": dict(schema), "strict": strict}
            made["response_format"] = {"type": "json_schema", "json_schema": described_schema}
        if tools:
            made["tools"] = tools
        if stream:
            made["stream"] = True
            if "stream_options" not in model.lacks:
                made["stream_options"] = {"include_usage": True}
        return made

    def _limit_field(self, model: Model) -> str:
        if self.limit_field in model.lacks:
            return "max_tokens" if self.limit_field == "max_completion_tokens" else "max_completion_tokens"
        return self.limit_field

    def said(self, answer: Any, names: Names) -> Said:
        choices = [mapping(choice) for choice in items(mapping(answer).get("choices"))]
        choice = next((choice for choice in choices if not choice.get("index")), choices[0] if choices else {})
        if not isinstance(choice.get("message"), dict):
            raise _no_choice(answer)
        message, finish = choice["message"], string(choice.get("finish_reason"))
        refusal = string(message.get("refusal"))
        calls = [mapping(call) for call in items(message.get("tool_calls"))]
        written = [(call.get("id"), mapping(call.get("function"))) for call in calls if isinstance(call.get("function"), dict)]
        if not written and isinstance(message.get("function_call"), dict):  # as it was before there were several
            written = [(None, message["function_call"])]
        used = usage.of_chat(mapping(answer).get("usage"))
        said = _said(_content(message.get("content")), refusal, written, finish, used, names)
        return replace(said, attached=_attached(message, calls))

    def listener(self, names: Names) -> ChatListener:
        return ChatListener(names)


class ChatListener:
    """said.Listener for chat completion chunks."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._own: dict[str, Any] = {}
        """Fields of the endpoint's own, put together."""
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._finish = ""
        self._marked = False
        self._choice: int | None = None
        self.begun = False
        self.usage: Usage | None = None
        self.written = 0
        self.error: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """By its reason to finish, or, at servers that give none, by the end mark."""
        return bool(self._finish) or self._marked

    def feed(self, event: Any) -> str:
        if event == DONE:
            self._marked = True
        chunk = mapping(event)
        if chunk.get("error"):
            self.error = error_object(chunk)
            return ""
        self.usage = usage.of_chat(chunk.get("usage")) or self.usage
        choice = self._ours(chunk.get("choices"))
        if not choice:
            return ""
        self.begun = True
        if choice.get("error"):
            self.error = error_object(choice)
            return ""
        if isinstance(choice.get("message"), dict):  # whole, where a stream was asked for
            return self._whole(choice)
        self._finish = string(choice.get("finish_reason")) or self._finish
        delta = mapping(choice.get("delta"))
        added, refused = _content(delta.get("content")), string(delta.get("refusal"))
        thought = string(delta.get("reasoning_content")) or string(delta.get("reasoning"))
        _grow(self._own, {name: value for name, value in delta.items() if name not in _USUAL and value is not None})
        self._text.append(added)
        self._refusal.append(refused)
        self.written += len(added) + len(refused) + len(thought)
        for piece in items(delta.get("tool_calls")):
            self._hear_call(mapping(piece))
        if isinstance(delta.get("function_call"), dict):
            self._hear_call({"index": 0, "function": delta["function_call"]})
        return added

    def _ours(self, choices: Any) -> Mapping[str, Any]:
        """The choice that is listened to: the first that speaks. One is asked for, but some servers give more."""
        for choice in map(mapping, items(choices)):
            if choice and self._choice is None:
                self._choice = index(choice.get("index"))
            if choice and self._choice == index(choice.get("index")):
                return choice
        return {}

    def _whole(self, choice: Mapping[str, Any]) -> str:
        """An answer that is no stream, though one was asked for: it is paid like one."""
        message = mapping(choice["message"])
        _grow(self._own, {name: value for name, value in message.items() if name not in _USUAL and value is not None})
        self._finish, self._marked = string(choice.get("finish_reason")), True
        added = _content(message.get("content"))
        self._text.append(added)
        self._refusal.append(string(message.get("refusal")))
        for at, call in enumerate(items(message.get("tool_calls"))):
            self._hear_call({**mapping(call), "index": at})
        self.written += len(added)
        return added

    def said(self) -> Said:
        if not self.begun:
            raise _no_choice(None)
        calls = self._in_order()
        written = [(call["id"], {"name": call["name"], "arguments": "".join(call["arguments"])}) for call in calls]
        said = _said("".join(self._text), "".join(self._refusal), written, self._finish, self.usage, self._names)
        return replace(said, attached=_attached(self._own, [call["own"] for call in calls]))

    def _hear_call(self, piece: Mapping[str, Any]) -> None:
        """The first piece of a call has its id and name, the others arguments.

        Some servers number all calls alike, where another id begins another call, or none, where a name does.
        """
        function, at, identity = mapping(piece.get("function")), count(piece.get("index")), string(piece.get("id"))
        name, added = string(function.get("name")), arguments_of(function.get("arguments"))
        call = next((each for each in reversed(self._calls) if each["at"] == at), None)
        if call is None or (name if at is None else call["id"] and identity not in ("", call["id"])):
            self._calls.append(call := {"at": at, "id": "", "name": "", "arguments": [], "own": {}})
        _grow(call["own"], {name: value for name, value in piece.items() if name not in _USUAL_IN_CALL and value is not None})
        call["id"] = call["id"] or identity
        if not call["name"].startswith(name):  # the next piece of it; some servers repeat what they have said
            call["name"] = name if name.startswith(call["name"]) else call["name"] + name
        call["arguments"].append(added)
        self.written += len(added) + len(name)

    def _in_order(self) -> list[dict[str, Any]]:
        return sorted(self._calls, key=lambda call: call["at"] or 0)


def _said(
    content: str, refusal: str, calls: Sequence[tuple[Any, Mapping[str, Any]]], finish: str, used: Usage | None, names: WireNames
) -> Said:
    refused = refusal or (FILTERED if finish == "content_filter" else "")
    if refused:
        return Said(text(refused), (), used, "refusal")
    made = tuple(
        tool_call(place, identity, function.get("name"), function.get("arguments"), names)
        for place, (identity, function) in enumerate(calls, 1)
    )
    return ended(text(content), made, used, finish, known=_ENDS)


_USUAL = frozenset({"role", "content", "tool_calls", "refusal", "function_call", "annotations", "audio", "name"})
_USUAL_IN_CALL = frozenset({"id", "type", "function", "index"})


def _attached(message: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> Any:
    """What an endpoint put into its message and its calls beside what everybody knows; None when it is nothing."""
    own = {name: value for name, value in message.items() if name not in _USUAL and value is not None}
    in_calls = [
        {name: value for name, value in call.items() if name not in _USUAL_IN_CALL and value is not None} for call in calls
    ]
    return {"message": own, "calls": in_calls} if own or any(in_calls) else None


def _grow(whole: dict[str, Any], pieces: Mapping[str, Any]) -> None:
    """Put the pieces of a stream to what there is: text to text, list to list; anything else replaces what was."""
    for name, value in pieces.items():
        before = whole.get(name)
        grows = isinstance(value, (str, list)) and type(before) is type(value)
        whole[name] = before + value if grows else value


def _content(value: Any) -> str:
    """Text, or the text of a list of parts, as some compatible servers send it."""
    if isinstance(value, list):
        return "".join(string(mapping(part).get("text")) for part in value)
    return string(value)


def _no_choice(answer: Any) -> Unreadable:
    return Unreadable(f"there is no choice in it ({str(answer)[:200]})" if answer is not None else "there is no choice in it")


def _tool(spec: ToolSpec, names: WireNames) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": names.to_wire(spec.name),
            "description": described(spec.description),
            "parameters": dict(spec.parameters) or {"type": "object", "properties": {}},
        },
    }


def _message(message: ChatMessage, names: WireNames, model: Model) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": text(message.content)}
    own = mapping(attached_to(message, model))
    if message.tool_calls:
        made["content"] = made["content"] or ("" if "null_content" in model.lacks else None)
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                # arguments that were no JSON are not quoted back: some servers parse them again and fail
                "function": {"name": names.to_wire(call.name), "arguments": json.dumps(dict(call.arguments or {}))},
            }
            for call in message.tool_calls
        ]
        for call, of_call in zip(made["tool_calls"], items(own.get("calls")), strict=False):
            call.update(mapping(of_call))
    made.update(mapping(own.get("message")))
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made
