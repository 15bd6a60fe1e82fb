"""OpenAI's Responses API, for models that speak nothing else. Nothing is stored there: a call carries the whole conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agents.jsonable import text
from agents.names import WireNames
from agents.ports import ChatMessage, ChatRequest, ToolSpec, Usage
from agents.router.models import Model
from connectors.llm import usage
from connectors.llm.failures import error_object
from connectors.llm.reading import Unreadable, index, items, mapping, string
from connectors.llm.said import FILTERED, Names, Said, attached_to, described, ended, limit_of, tool_call
from connectors.llm.structured import strict_ready

_RESPONSES_ONLY = re.compile(
    r"(?:o\d|gpt-\d[\d.]*)-pro\b|gpt-[\d.]+-(?:codex|cyber|rosalind|\w+-law)|gpt-(?:daybreak|rosalind)|codex-|.*-deep-research|computer-use"
)

_ENDS = {"max_tokens": "length"}
"""A response has no reason to end, but a status: `completed` is whole, `failed`, `cancelled` and any other is no answer."""


def only_responses(wire: str) -> bool:
    """Whether OpenAI serves a model of that name through this API alone; for those the catalogue does not know."""
    return _RESPONSES_ONLY.match(wire) is not None


@dataclass(frozen=True, slots=True)
class ResponsesWire:
    path: str = "/responses"

    def body(self, model: Model, request: ChatRequest, names: Names, *, stream: bool) -> dict[str, Any]:
        made: dict[str, Any] = {
            "model": model.wire,
            "input": [item for message in request.messages for item in _items(message, names, model)],
            "max_output_tokens": max(limit_of(model, request), 16),  # the least it takes
            "store": False,
        }
        if "reasoning" in model.capabilities and "own_fields" not in model.lacks:
            made["include"] = ["reasoning.encrypted_content"]  # nothing is stored there: what it thought must come along
        if request.temperature is not None and not model.fixed_temperature and "temperature" not in model.lacks:
            made["temperature"] = request.temperature
        if request.tools:
            made["tools"] = [_tool(spec, names) for spec in request.tools]
            if not request.use_tools:
                made["tool_choice"] = "none"
        if request.output_schema is not None:
            schema, strict = dict(request.output_schema), "strict" not in model.lacks and strict_ready(request.output_schema)
            made["text"] = {"format": {"type": "json_schema", "name": "output", "schema": schema, "strict": strict}}
        if stream:
            made["stream"] = True
        return made

    def said(self, answer: Any, names: Names) -> Said:
        response = mapping(answer)
        if not isinstance(response.get("output"), list):
            raise Unreadable(f"there is no output in it ({str(answer)[:200]})")
        parts = [mapping(item) for item in response["output"]]
        content = [mapping(part) for item in parts if item.get("type") == "message" for part in items(item.get("content"))]
        refusal = "".join(string(part.get("refusal")) for part in content if part.get("type") == "refusal")
        why = string(mapping(response.get("incomplete_details")).get("reason"))
        status = string(response.get("status"))
        used = usage.of_responses(response.get("usage"))
        refused = refusal or (FILTERED if why == "content_filter" else "")
        if refused:
            return Said(text(refused), (), used, "refusal")
        calls = tuple(
            tool_call(place, item.get("call_id"), item.get("name"), item.get("arguments"), names)
            for place, item in enumerate((item for item in parts if item.get("type") == "function_call"), 1)
        )
        written = "".join(string(part.get("text")) for part in content if part.get("type") == "output_text")
        cut = "max_tokens" if why == "max_output_tokens" or status == "incomplete" else ""
        said = ended(text(written), calls, used, cut or (status if status != "completed" else ""), known=_ENDS)
        own = [dict(item) for item in parts if item.get("type") == "reasoning" and item.get("encrypted_content")]
        return replace(said, attached=own or None)

    def listener(self, names: Names) -> ResponsesListener:
        return ResponsesListener(self, names)


class ResponsesListener:
    """said.Listener for response events: the last one carries the whole response, or, at some servers, all but its output."""

    def __init__(self, wire: ResponsesWire, names: Names) -> None:
        self._wire, self._names = wire, names
        self._response: Any = None
        self._items: dict[int, Mapping[str, Any]] = {}
        """Output items that are whole, by their place."""
        self._heard: dict[int, list[str]] = {}
        """Text of those that are not, by their place."""
        self.begun = False
        self.usage: Usage | None = None
        self.written = 0
        self.ended = False
        self.error: Mapping[str, Any] | None = None

    def feed(self, event: Any) -> str:
        heard = mapping(event)
        kind = string(heard.get("type"))
        self.begun = self.begun or kind.startswith("response.")
        if kind.endswith(".delta"):
            added = string(heard.get("delta"))
            self.written += len(added)
            if kind != "response.output_text.delta":
                return ""
            self._heard.setdefault(index(heard.get("output_index")), []).append(added)
            return added
        if kind == "response.output_item.done":
            self._items[index(heard.get("output_index"))] = mapping(heard.get("item"))
        whole = not kind and isinstance(heard.get("output"), list)  # no stream, where one was asked for
        if whole or kind in ("response.completed", "response.incomplete", "response.failed"):
            self.begun = True
            self._response = heard if whole else heard.get("response")
            self.usage = usage.of_responses(mapping(self._response).get("usage")) or self.usage
            self.ended = True
        if kind == "response.failed":
            self.error = error_object(self._response)
        elif kind == "error" or heard.get("error"):
            self.error = error_object(heard)
        return ""

    def said(self) -> Said:
        response = mapping(self._response)
        if response and not response.get("output"):
            response = {**response, "output": self._collected()}
        return self._wire.said(response, self._names)

    def _collected(self) -> list[Mapping[str, Any]]:
        texts = {
            at: {"type": "message", "content": [{"type": "output_text", "text": "".join(pieces)}]}
            for at, pieces in self._heard.items()
        }
        return [item for _, item in sorted({**texts, **self._items}.items())]


def _items(message: ChatMessage, names: WireNames, model: Model) -> Iterator[dict[str, Any]]:
    said = text(message.content)
    yield from (dict(item) for item in items(attached_to(message, model)))
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id or "", "output": said}
        return
    if said or not message.tool_calls:
        yield {"role": message.role, "content": said}
    for call in message.tool_calls:
        written = json.dumps(dict(call.arguments or {}))
        yield {"type": "function_call", "call_id": call.id, "name": names.to_wire(call.name), "arguments": written}


def _tool(spec: ToolSpec, names: WireNames) -> dict[str, Any]:
    return {
        "type": "function",
        "name": names.to_wire(spec.name),
        "description": described(spec.description),
        "parameters": dict(spec.parameters) or {"type": "object", "properties": {}},
        "strict": False,
    }
