"""Counting a request for many models at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agents.ports import ChatMessage, ToolSpec
from agents.router.models import Model


class Counter(Protocol):
    """Counts text tokens as a model does (agents.router.tokens.TokenCounter)."""

    def count_text(self, model: Model, text: str) -> int: ...

    def count_request(
        self, model: Model, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec], output_schema: Mapping[str, Any] | None
    ) -> int: ...

    def learn(self, model: Model, estimated: int, actual: int) -> None: ...


class Counts(dict[str, int]):
    """Text tokens of one request by model name, counted when asked for; models with one encoding count alike."""

    def __init__(
        self,
        counter: Counter,
        models: Mapping[str, Model],
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolSpec],
        output_schema: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self._counter, self._models, self._asked = counter, models, (messages, tools, output_schema)
        self._alike: dict[tuple[str, str], int] = {}

    def __missing__(self, name: str) -> int:
        model = self._models[name]
        if model.encoding is None:
            count = self._counter.count_request(model, *self._asked)
        else:
            key = (model.provider, model.encoding)
            known = self._alike.get(key)
            count = known if known is not None else self._counter.count_request(model, *self._asked)
            self._alike[key] = count
        self[name] = count
        return count
