"""What the wires have in common: a model's answer before it is priced and timed, and who listens to a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agents.jsonable import NotJson, parse, text
from agents.names import WireNames
from agents.ports import ChatRequest, ToolCall, Usage
from agents.router.models import Model

OUTPUT_TOOL = "final_output"
"""Forced upon models that know tools but no output schema."""
FILTERED = "stopped by the provider's content filter"
_LONGEST_DESCRIPTION = 1024


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage | None
    finish_reason: str
    """As ChatReply.finish_reason."""
    broken: str = ""
    """Why it is no answer though it came, e.g. how it ended; what came is paid all the same."""


class Listener(Protocol):
    """Puts a streamed answer together."""

    @property
    def begun(self) -> bool:
        """The model works on it: from here on it is paid."""
        ...

    @property
    def usage(self) -> Usage | None:
        """As far as the provider has counted."""
        ...

    @property
    def written(self) -> int:
        """Characters so far, thoughts and arguments of tool calls included."""
        ...

    @property
    def ended(self) -> bool:
        """The answer is whole; its usage may still come."""
        ...

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The provider broke off and said why."""
        ...

    def feed(self, event: Any) -> str:
        """The text an event adds, "" when none."""
        ...

    def said(self) -> Said:
        """The whole answer. Raises Unreadable when there is none."""
        ...


class Wire(Protocol):
    """One API: requests out, answers in. Translates; calls nobody."""

    @property
    def path(self) -> str: ...

    def body(self, model: Model, request: ChatRequest, names: WireNames, *, stream: bool) -> dict[str, Any]: ...

    def said(self, answer: Any, names: WireNames) -> Said:
        """Raises Unreadable for what is no answer."""
        ...

    def listener(self, names: WireNames) -> Listener: ...


def names_of(request: ChatRequest) -> WireNames:
    """Tool names for the whole conversation: tools offered now, and tools called earlier."""
    called = (call.name for message in request.messages for call in message.tool_calls)
    return WireNames([*(spec.name for spec in request.tools), *called])


def tool_call(place: int, call_id: Any, name: Any, raw: Any, names: WireNames) -> ToolCall:
    """`raw`: the arguments as the endpoint gave them. `place` from 1, for calls without an id."""
    written = arguments_of(raw)
    try:
        arguments = parse(written) if written.strip() else {}
    except NotJson:
        arguments = None
    known = arguments if isinstance(arguments, dict) else None
    identity = call_id if isinstance(call_id, str) and call_id else f"call_{place}"
    return ToolCall(identity, names.from_wire(name if isinstance(name, str) else ""), known, text(written))


def arguments_of(raw: Any) -> str:
    """Arguments as the model wrote them; some compatible servers send the object itself."""
    return raw if isinstance(raw, str) else json.dumps(raw) if isinstance(raw, dict) else ""


def ended(text: str, calls: tuple[ToolCall, ...], usage: Usage | None, reason: str, *, known: Mapping[str, str]) -> Said:
    """An answer by how its provider says that it ended: `known` has every reason that is good, or that we know what to do with.

    No reason at all is good: many servers give none. The calls of an answer that was cut are not to be made: the last of them
    is not whole, and the model may have meant to go on.
    """
    meant = known.get(reason) if reason else ("tool_calls" if calls else "stop")
    if meant is None:
        return Said(text, (), usage, "error", broken=f"it ended for the reason {reason!r}")
    if meant == "stop" and calls:
        meant = "tool_calls"
    elif meant == "tool_calls" and not calls:
        meant = "stop"
    return finished(Said(text, () if meant == "length" else calls, usage, meant))


def finished(said: Said) -> Said:
    """With the answer of a forced output tool as text."""
    for call in said.tool_calls:
        if call.name == OUTPUT_TOOL:
            return Said(call.raw, (), said.usage, "stop" if said.finish_reason == "tool_calls" else said.finish_reason)
    return said


def described(words: str) -> str:
    return text(words)[:_LONGEST_DESCRIPTION]


def limit_of(model: Model, request: ChatRequest) -> int:
    """Text tokens the model may write."""
    return min(request.max_tokens, model.max_output) if model.max_output else request.max_tokens
