"""Anthropic's messages. The stable front of a request, tools and system prompt, is marked for its prompt cache."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.jsonable import text
from agents.ports import ChatMessage, ChatRequest, ToolSpec, Usage
from agents.router.models import Model
from connectors.llm import usage
from connectors.llm.failures import error_object
from connectors.llm.reading import Unreadable, index, items, mapping, string
from connectors.llm.said import (
    OUTPUT_TOOL,
    Names,
    Said,
    attached_to,
    described,
    ended,
    limit_of,
    tool_call,
    with_schema_in_words,
)
from connectors.llm.structured import closed, has_forced_tools, has_schemas

_CACHED = {"cache_control": {"type": "ephemeral"}}
_NOTHING_SAID = "(nothing)"
_ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
"""Any other reason is no answer. A refusal is read before."""
_OWN = ("thinking", "redacted_thinking")
"""Blocks that are no answer, and that it wants to see again before the results of the calls beside them."""
_DECLINED = "the model declined to answer"


@dataclass(frozen=True, slots=True)
class MessagesWire:
    path: str = "/v1/messages"

    def body(self, model: Model, request: ChatRequest, names: Names, *, stream: bool) -> dict[str, Any]:
        messages, output = request.messages, request.output_schema
        own_schema = names.keys.schema(output) if output is not None else None
        schema = closed(own_schema) if own_schema is not None and has_schemas(model) else None
        if own_schema is not None and schema is None and not has_forced_tools(model):
            messages = with_schema_in_words(messages, own_schema)
        made: dict[str, Any] = {
            "model": model.wire,
            "max_tokens": limit_of(model, request),
            "messages": _turns(messages, names, model),
        }
        system = [_text(message.content) for message in messages if message.role == "system" and message.content.strip()]
        tools = [_tool(spec, names) for spec in request.tools]
        if not tools:  # it takes no conversation with calls in it unless their tools are told
            called = dict.fromkeys(call.name for message in messages for call in message.tool_calls)
            tools = [{"name": names.to_wire(name), "input_schema": {"type": "object"}} for name in called]
        if tools and not (request.use_tools and request.tools):
            made["tool_choice"] = {"type": "none"}
        if request.temperature is not None and not model.fixed_temperature and "temperature" not in model.lacks:
            made["temperature"] = min(request.temperature, 1.0)  # its scale ends where others go on to 2
        if schema is not None:
            made["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        elif own_schema is not None and has_forced_tools(model):
            may_call = tools and request.use_tools and request.tools
            made["tool_choice"] = {"type": "any"} if may_call else {"type": "tool", "name": OUTPUT_TOOL}
            described_output = "Give the final answer by calling this."
            tools.append({"name": OUTPUT_TOOL, "description": described_output, "input_schema": dict(own_schema)})
        if system:
            system[-1] |= _CACHED  # the cache takes all before the mark, and tools stand before the system prompt
            made["system"] = system
        elif tools:
            tools[-1] |= _CACHED
        if tools:
            made["tools"] = tools
        if stream:
            made["stream"] = True
        return made

    def said(self, answer: Any, names: Names) -> Said:
        message = mapping(answer)
        if not isinstance(message.get("content"), list):
            raise Unreadable(f"there is no content in it ({str(answer)[:200]})")
        blocks = [mapping(block) for block in message["content"]]
        return _said(blocks, string(message.get("stop_reason")), usage.of_messages(message.get("usage")), names)

    def listener(self, names: Names) -> MessagesListener:
        return MessagesListener(names)


class MessagesListener:
    """said.Listener for message events: blocks begin, grow and end; the usage comes in two parts."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._blocks: dict[int, dict[str, Any]] = {}
        self._used: dict[str, Any] = {}
        self._stop = ""
        self.begun = False
        self.usage: Usage | None = None
        self.written = 0
        self.ended = False
        self.error: Mapping[str, Any] | None = None

    def feed(self, event: Any) -> str:
        heard = mapping(event)
        kind = string(heard.get("type"))
        self.begun = self.begun or kind.startswith(("message_", "content_block_"))
        match kind:
            case "message" if isinstance(heard.get("content"), list):  # whole, where a stream was asked for
                return self._take_whole(heard)
            case "message_start":
                self._count(mapping(heard.get("message")).get("usage"))
            case "content_block_start":
                block = mapping(heard.get("content_block"))
                self._blocks[index(heard.get("index"))] = {**block, "pieces": [string(block.get("text"))]}
                return string(block.get("text"))
            case "content_block_delta":
                return self._grow(index(heard.get("index")), mapping(heard.get("delta")))
            case "message_delta":
                self._stop = string(mapping(heard.get("delta")).get("stop_reason")) or self._stop
                self._count(heard.get("usage"))
                self.ended = self.ended or bool(self._stop)
            case "message_stop":
                self.ended = True
            case "error":
                self.error = error_object(heard)
        return ""

    def said(self) -> Said:
        if not self.begun:
            raise Unreadable("there is no message in it")
        blocks = []
        for at in sorted(self._blocks):
            block = self._blocks[at]
            whole = "".join(block["pieces"])
            blocks.append({**block, "text": whole, "written": whole} if block.get("type") in ("text", "tool_use") else block)
        return _said(blocks, self._stop, self.usage, self._names)

    def _take_whole(self, message: Mapping[str, Any]) -> str:
        self.begun = self.ended = True
        self._stop = string(message.get("stop_reason"))
        self._count(message.get("usage"))
        for at, block in enumerate(map(mapping, items(message.get("content")))):
            self._blocks[at] = {**block, "pieces": [string(block.get("text"))]}
        written = "".join(block["pieces"][0] for block in self._blocks.values())
        self.written += len(written)
        return written

    def _grow(self, at: int, delta: Mapping[str, Any]) -> str:
        added = string(delta.get("text")) or string(delta.get("partial_json"))
        self.written += len(added) + len(string(delta.get("thinking")))
        block = self._blocks.setdefault(at, {"type": "text", "pieces": []})
        block["pieces"].append(added)
        for own in ("thinking", "signature"):  # as it came, for it goes back unchanged
            if grown := string(delta.get(own)):
                block[own] = string(block.get(own)) + grown
        return added if delta.get("type") == "text_delta" else ""

    def _count(self, said: Any) -> None:
        """Later counts are of everything so far and replace earlier ones; what is not said again stands."""
        self._used |= {name: value for name, value in mapping(said).items() if value is not None}
        self.usage = usage.of_messages(self._used)


def _said(blocks: Sequence[Mapping[str, Any]], stop: str, used: Usage | None, names: Names) -> Said:
    written = text("".join(string(block.get("text")) for block in blocks if block.get("type") == "text"))
    if stop == "refusal":
        return Said(written or _DECLINED, (), used, "refusal")
    wished = [block for block in blocks if block.get("type") == "tool_use"]
    calls = tuple(
        tool_call(place, block.get("id"), block.get("name"), _arguments(block), names) for place, block in enumerate(wished, 1)
    )
    calls = tuple(replace(call, arguments=names.keys.from_wire(call.arguments)) for call in calls)
    said = ended(written, calls, used, stop, known=_ENDS)
    own = [{name: value for name, value in block.items() if name != "pieces"} for block in blocks if block.get("type") in _OWN]
    return replace(said, text=names.keys.text_from_wire(said.text), attached=own or None)


def _arguments(block: Mapping[str, Any]) -> str:
    """As the model wrote them: pieces of JSON when streamed, a value when whole."""
    return string(block["written"]) if block.get("written") else json.dumps(block.get("input") or {})


def _turns(messages: tuple[ChatMessage, ...], names: Names, model: Model) -> list[dict[str, Any]]:
    """Turns in the order it asks for: the results of all calls of a turn stand together, before other words of the user."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, names, model)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [_text(_NOTHING_SAID)]})
    return turns


def _blocks(message: ChatMessage, names: Names, model: Model) -> list[dict[str, Any]]:
    """Without empty text, which it refuses."""
    if message.role == "tool":
        made: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id or "call"}
        return [{**made, "content": text(message.content)} if message.content.strip() else made]
    blocks: list[dict[str, Any]] = [dict(block) for block in items(attached_to(message, model))]
    blocks += [_text(message.content)] if message.content.strip() else []
    for call in message.tool_calls:
        name, given = names.to_wire(call.name), names.keys.to_wire(dict(call.arguments or {}))
        blocks.append({"type": "tool_use", "id": call.id, "name": name, "input": given})
    return blocks


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": text(words)}


def _tool(spec: ToolSpec, names: Names) -> dict[str, Any]:
    schema = dict(names.keys.schema(spec.parameters)) or {"type": "object", "properties": {}}
    return {"name": names.to_wire(spec.name), "description": described(spec.description), "input_schema": schema}
