"""Requests as clients write them."""

from __future__ import annotations

import json
from typing import Any

from connectors.rehearsal.model import RehearsalModel
from connectors.rehearsal.wire import ChatBody, Reply


def ask(model: RehearsalModel, *messages: dict[str, Any] | str, **more: Any) -> Reply:
    written = [{"role": "user", "content": each} if isinstance(each, str) else each for each in messages]
    return model.complete(ChatBody.model_validate({"model": "any", "messages": written, **more}))[0]


def fill(model: RehearsalModel, prompt: str, schema: dict[str, Any]) -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}
    return json.loads(ask(model, prompt, response_format=form).text)


def tool(name: str, required: dict[str, Any], description: str = "", **optional: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {**required, **optional}, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def converse(model: RehearsalModel, prompt: str, tools: list[dict[str, Any]], results: dict[str, Any]) -> tuple[list[Any], str]:
    """Play the caller until the model answers: (calls made, answer). `results` maps a tool to its observation."""
    messages: list[dict[str, Any] | str] = [prompt]
    calls: list[Any] = []
    while len(calls) < 20:
        reply = ask(model, *messages, tools=tools)
        if not reply.calls:
            return calls, reply.text
        for call in reply.calls:
            calls.append((call.name, dict(call.arguments)))
            messages.append({"role": "assistant", "content": None, "tool_calls": [call.as_json()]})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(results[call.name])})
    raise AssertionError(f"the model did not stop calling: {calls}")
