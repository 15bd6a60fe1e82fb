"""Agents that cost nothing: what is measured with them is the engine. streams.nodes.Workshop, without models and tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agents.ports import (
    Agent,
    AgentResult,
    ChatMessage,
    ChatModel,
    ChatReply,
    ChatRequest,
    HistoryMessage,
    Memory,
    Passage,
    ToolCall,
    ToolResult,
    Tools,
    ToolSpec,
    Work,
)
from connectors.settings import Settings
from schemas.events import NodeTask
from schemas.workflow.definition import Node
from streams.definitions import Workflow

ANSWER = "Your order is on its way and will reach you within two working days. " * 4


@dataclass(frozen=True, slots=True)
class BenchAgent:
    """Answers with a fixed text; `seconds` later when asked to take time; after a model call when `calls` says so."""

    seconds: float
    calls: bool

    async def run(self, work: Work, *, model: ChatModel, tools: Tools) -> AgentResult:
        if self.calls:
            await model.complete(ChatRequest(work.profile, (ChatMessage("user", work.instruction),)))
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return AgentResult({"response": ANSWER})


class BenchModel:
    async def complete(self, request: ChatRequest) -> ChatReply:
        return ChatReply(ANSWER, (), "bench", "bench-1", 100, 60, 0, 120, 1)


class NoTools:
    def specs(self) -> Sequence[ToolSpec]:
        return ()

    async def call(self, call: ToolCall) -> ToolResult:
        raise AssertionError("the bench agent has no tools")


class NoMemory:
    async def history(self, conversation_id: str, *, before: int, limit: int) -> Sequence[HistoryMessage]:
        return ()

    async def knowledge(self, query: str, *, top_k: int) -> Sequence[Passage]:
        return ()


@dataclass(frozen=True, slots=True)
class BenchWorkshop:
    bench_agent: BenchAgent
    memory: Memory = field(default_factory=NoMemory)

    def agent(self, name: str) -> Agent:
        return self.bench_agent

    def timeout_seconds(self, name: str) -> float:
        return 60.0

    def model(self, workflow: Workflow, node: Node, task: NodeTask) -> ChatModel:
        return BenchModel()

    async def tools(self, workflow: Workflow, node: Node, task: NodeTask) -> Tools:
        return NoTools()


@asynccontextmanager
async def open_workshop(settings: Settings, *, seconds: float, calls: bool) -> AsyncIterator[BenchWorkshop]:
    yield BenchWorkshop(BenchAgent(seconds, calls))
