"""Text tokens of a text or a request, by model: its own encoding, else one of ours and a learned ratio."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.ports import ChatMessage, ToolCall, ToolSpec
from agents.router.models import Model
from agents.router.tokens import encodings
from agents.router.tokens.encodings import DEFAULT, SHIPPED, Encoding
from agents.router.tokens.memory import Memory, key_of
from agents.router.tokens.pieces import pieces
from agents.router.tokens.ratios import Ratios

PER_MESSAGE = 4
"""Text tokens that frame one message, whatever is in it."""
EXACT, SAMPLES = 2_000_000, 4
"""Characters of a text that are counted; of a longer one so many samples, evenly spread: counting may not hold up others."""
CHARACTERS = 4
"""Characters a text token, when no encoding can be loaded."""


class TokenCounter:
    """One a process: it remembers what it counted, by content, so that a conversation's tenth turn counts one message.

    Raises nothing: special tokens in a text are ordinary text, lone surrogates count as U+FFFD, an unknown encoding is
    replaced by o200k_base, and that, when it cannot be loaded, by 4 characters a token.
    """

    def __init__(self, *, load: Callable[[str], Encoding | None] = encodings.encoding, texts: int = 16_384) -> None:
        self._load = load
        self._texts: Memory[tuple[str, str | bytes], int] = Memory(texts)
        self._values: Memory[tuple[str, int], tuple[Any, int]] = Memory(1_024)
        self._latest = _Request((), (), None, {})
        self._ratios = Ratios()

    def count_text(self, model: Model, text: str) -> int:
        """Text tokens of `text` alone, without the frame of a message."""
        name = _encoding_of(model)
        plain = self._text(name or DEFAULT, text)
        return plain if name else self._ratios.estimate(model, plain)

    def count_request(
        self,
        model: Model,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolSpec] = (),
        output_schema: Mapping[str, Any] | None = None,
    ) -> int:
        """Text tokens of the whole input: 4 a message, and tools, calls and schema as the JSON they are sent as.

        A request is known again by identity: messages, tools and schema are not changed once they were counted.
        """
        name = _encoding_of(model)
        plain = self._request(name or DEFAULT, messages, tools, output_schema)
        return plain if name else self._ratios.estimate(model, plain)

    def learn(self, model: Model, estimated: int, actual: int) -> None:
        """Compare an estimate with the input that the provider counted, cached included. Only for models without an encoding."""
        if _encoding_of(model) is None:
            self._ratios.learn(model, estimated, actual)

    def ratio(self, model: Model) -> float:
        """Its text tokens for one of o200k_base, as learned so far; 1 for a model whose encoding is known."""
        return 1.0 if _encoding_of(model) else self._ratios.of(model)

    def warm(self, models: Iterable[Model]) -> None:
        """Load what these models need now: a table takes up to half a second, which no call should wait for."""
        for name in {_encoding_of(model) or DEFAULT for model in models}:
            self._load(name)

    def _request(
        self, name: str, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec], schema: Mapping[str, Any] | None
    ) -> int:
        latest = self._latest
        if latest.messages is not messages or latest.tools is not tools or latest.schema is not schema:
            if not isinstance(messages, tuple):  # a list may grow between two counts
                return self._counted(name, messages, tools, schema)
            latest = self._latest = _Request(messages, tools, schema, {})
        count = latest.counts.get(name)
        if count is None:
            count = latest.counts[name] = self._counted(name, messages, tools, schema)
        return count

    def _counted(
        self, name: str, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec], schema: Mapping[str, Any] | None
    ) -> int:
        count = sum(self._message(name, message) for message in messages)
        count += sum(self._value(name, tool, _tool) for tool in tools)
        return count if schema is None else count + self._value(name, schema, dict)

    def _message(self, name: str, message: ChatMessage) -> int:
        count = PER_MESSAGE + self._text(name, message.content)
        return count + sum(self._text(name, _call(call)) for call in message.tool_calls)

    def _value(self, name: str, value: Any, form: Callable[[Any], Any]) -> int:
        known = self._values.get((name, id(value)))
        if known is None:
            known = self._values.put((name, id(value)), (value, self._text(name, _json(form(value)))))
        return known[1]

    def _text(self, name: str, text: str) -> int:
        if not text:
            return 0
        key = (name, key_of(text))
        known = self._texts.get(key)
        return self._texts.put(key, self._encoded(name, text)) if known is None else known

    def _encoded(self, name: str, text: str) -> int:
        encoding = self._load(name)
        if encoding is None:
            return -(-len(text) // CHARACTERS)
        if len(text) <= EXACT:
            return sum(len(encoding.encode_ordinary(piece)) for piece in pieces(text))
        size = EXACT // SAMPLES
        starts = (sample * (len(text) - size) // (SAMPLES - 1) for sample in range(SAMPLES))
        counted = sum(len(encoding.encode_ordinary(piece)) for start in starts for piece in pieces(text[start : start + size]))
        return -(-counted * len(text) // (size * SAMPLES))


@dataclass(frozen=True, slots=True)
class _Request:
    """The request that was asked about last, for one candidate model after the other: its count by encoding."""

    messages: Sequence[ChatMessage]
    tools: Sequence[ToolSpec]
    schema: Mapping[str, Any] | None
    counts: dict[str, int]


def _encoding_of(model: Model) -> str | None:
    return model.encoding if model.encoding in SHIPPED else None


def _tool(tool: ToolSpec) -> Mapping[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _call(call: ToolCall) -> str:
    return f"{call.name}{call.raw if call.arguments is None else _json(dict(call.arguments))}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
