"""A model that says what the test wrote, tools that note what was done, a journal in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.errors import NodeFailure
from agents.journal import Entry
from agents.ports import ChatReply, ChatRequest, HistoryMessage, Passage, ToolCall, ToolResult, ToolSpec, Work

ORDER_ID = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
GET_ORDER = ToolSpec("shopify.get_order", "Reads an order.", ORDER_ID, idempotent=True)
CREATE_RETURN = ToolSpec("shopify.create_return", "Opens a return.", ORDER_ID)


def work(**changes: Any) -> Work:
    given: dict[str, Any] = {
        "conversation_id": "c",
        "run_id": "r",
        "node_id": "n",
        "execution_id": "e",
        "attempt": 1,
        "instruction": "Help the customer.",
        "system_prompt": None,
        "profile": "fast",
        "customer_text": "where is order 7?",
        "now_ms": 1_780_000_000_000,
    }
    return Work(**(given | changes))


def said(text: str = "", *calls: ToolCall, finish: str = "stop") -> ChatReply:
    return ChatReply(text, calls, "test", "test-1", 10, 5, 0, 7, 3, finish_reason=finish)


def wants(name: str, arguments: Mapping[str, Any] | None = None, *, raw: str = "") -> ToolCall:
    return ToolCall(f"id-{name}", name, arguments, raw or json.dumps(arguments))


class Scripted:
    """Answers in order; remembers what it was asked. A NodeFailure in the script is raised."""

    def __init__(self, *script: ChatReply | NodeFailure | str) -> None:
        self.script = list(script)
        self.asked: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request)
        answer = self.script.pop(0)
        if isinstance(answer, NodeFailure):
            raise answer
        return said(answer) if isinstance(answer, str) else answer


class Shelf:
    """Tools; `act` decides what a call gives."""

    def __init__(
        self, *specs: ToolSpec, act: Callable[[ToolCall], Any] = lambda call: {"id": "7", "status": "in_transit"}
    ) -> None:
        self._specs, self._act = specs, act
        self.done: list[tuple[str, Mapping[str, Any]]] = []

    def specs(self) -> Sequence[ToolSpec]:
        return self._specs

    async def call(self, call: ToolCall) -> ToolResult:
        self.done.append((call.name, dict(call.arguments or {})))
        result = self._act(call)
        if isinstance(result, Exception):
            raise result
        return result if isinstance(result, ToolResult) else ToolResult(True, result, latency_ms=2, entity_id="cust")


class MemoryJournal:
    """Durable at once. `entries` survives what the test calls a crash."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def lookup(self, step: str) -> Entry | None:
        return self.entries.get(step)

    async def intent(self, step: str, detail: Mapping[str, Any]) -> None:
        self.entries[step] = Entry(intent=json.loads(json.dumps(detail)))

    async def result(self, step: str, value: Mapping[str, Any]) -> None:
        before = self.entries.get(step, Entry())
        self.entries[step] = Entry(intent=before.intent, value=json.loads(json.dumps(value)))

    async def noted(self, step: str, value: Mapping[str, Any]) -> None:
        await self.result(step, value)


class Recall:
    """Memory with what the test put there; notes what was asked."""

    def __init__(self, history: Sequence[HistoryMessage] = (), passages: Sequence[Passage] = ()) -> None:
        self._history, self._passages = history, passages
        self.asked: list[tuple[str, Any]] = []

    async def history(self, conversation_id: str, *, before: int, limit: int) -> Sequence[HistoryMessage]:
        self.asked.append(("history", (conversation_id, before, limit)))
        return self._history

    async def knowledge(self, query: str, *, top_k: int) -> Sequence[Passage]:
        self.asked.append(("knowledge", (query, top_k)))
        return self._passages
