"""What the wires have in common: a model's answer before it is priced and timed, and who listens to a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from agents.jsonable import NotJson, parse, text
from agents.names import WireNames
from agents.ports import ChatMessage, ChatRequest, ToolCall, Usage
from agents.router.models import Model
from connectors.llm.keys import KeyNames
from connectors.llm.structured import in_words

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
    attached: Any = None
    """What the endpoint put beside it and wants to see again; as Attached.data. None: nothing."""
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

    def body(self, model: Model, request: ChatRequest, names: Names, *, stream: bool) -> dict[str, Any]: ...

    def said(self, answer: Any, names: Names) -> Said:
        """Raises Unreadable for what is no answer."""
        ...

    def listener(self, names: Names) -> Listener: ...


class Names(WireNames):
    """The names of one request on the wire: of its tools, and, where a provider is particular, of their properties."""

    def __init__(self, request: ChatRequest) -> None:
        called = (call.name for message in request.messages for call in message.tool_calls)
        super().__init__([*(spec.name for spec in request.tools), *called])
        self._request = request

    @cached_property
    def keys(self) -> KeyNames:
        return KeyNames([*(spec.parameters for spec in self._request.tools), self._request.output_schema])


def names_of(request: ChatRequest) -> Names:
    """Tool names for the whole conversation: tools offered now, and tools called earlier."""
    return Names(request)


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


def attached_to(message: ChatMessage, model: Model) -> Any:
    """What goes back to `model` of what its endpoint once put beside this message; None when it came from elsewhere."""
    attached = message.attached
    if attached is None or "own_fields" in model.lacks or (attached.provider, attached.model) != (model.provider, model.name):
        return None
    return attached.data


def with_schema_in_words(messages: Sequence[ChatMessage], schema: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
    """The messages for a model that can be held to a schema by words alone."""
    words = ChatMessage("system", in_words(schema))
    begins = 1 if messages and messages[0].role == "system" else 0
    if begins:
        words = replace(messages[0], content=f"{messages[0].content}\n\n{words.content}")
    return (words, *messages[begins:])


def described(words: str) -> str:
    return text(words)[:_LONGEST_DESCRIPTION]


def limit_of(model: Model, request: ChatRequest) -> int:
    """Text tokens the model may write."""
    return min(request.max_tokens, model.max_output) if model.max_output else request.max_tokens
