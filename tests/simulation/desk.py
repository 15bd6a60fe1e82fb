"""What node workers work with: agents that are functions of node and input, and a shop that counts what was done to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from random import Random
from typing import Any

from agents.errors import Fatal, Park, Retryable
from agents.ports import (
    AgentResult,
    ChatModel,
    ChatReply,
    ChatRequest,
    HistoryMessage,
    Passage,
    ToolCall,
    ToolResult,
    Tools,
    ToolSpec,
    Work,
)
from schemas.events import NodeTask, Outcome
from schemas.workflow.definition import Node
from streams.definitions import Workflow

AGENT_TYPES = {"writer": "simple", "thinker": "reasoning"}
SPECS = (
    ToolSpec("shop.look", "reads", {"type": "object"}, idempotent=True),
    ToolSpec("shop.refund", "acts", {"type": "object"}),
    ToolSpec("shop.ship", "acts", {"type": "object"}),
)
ACTS = frozenset(spec.name for spec in SPECS if not spec.idempotent)


@dataclass(frozen=True, slots=True)
class Script:
    """What an agent does for one node and input: its steps in order, and how each attempt ends."""

    steps: tuple[str, ...]
    """`model`, or the name of a tool."""
    waits: tuple[float, ...]
    """Seconds before each step, and one before the end."""
    failures: tuple[tuple[str, int], ...]
    """For the first attempts: how it fails (`agent`, `model`, `tool`), and at which step."""
    ending: Outcome
    v: int
    route: str

    @classmethod
    @lru_cache(maxsize=10_000)  # asked for in every attempt, and by the oracle
    def of(cls, salt: str, node_id: str, instruction: str, said: str) -> Script:
        random = Random(sha256(f"{salt}|{node_id}|{instruction}|{said}".encode()).digest())
        steps = tuple(random.choice(("model", "model", "shop.look", "shop.refund", "shop.ship")) for _ in range(_few(random)))
        waits = tuple(random.choice((0.0, 0.002, 0.02, 0.3)) * random.random() for _ in range(len(steps) + 1))
        failures = []
        if random.random() < 0.2:
            places = sorted(random.randrange(len(steps) + 1) for _ in range(random.choice((1, 1, 2, 5))))
            for at in places:  # no earlier than before: what has succeeded once is answered from the journal
                kind = "agent" if at == len(steps) else ("model" if steps[at] == "model" else "tool")
                failures.append((kind, at))
        chance = random.random()
        ending = Outcome.OK if chance < 0.88 else Outcome.FATAL if chance < 0.95 else Outcome.PARK
        return cls(steps, waits, tuple(failures), ending, random.randrange(100), random.choice("abc"))

    def output(self, node_id: str, receipts: Sequence[str]) -> dict[str, Any]:
        return {"response": f"{node_id} says {self.v}", "v": self.v, "route": self.route, "receipts": list(receipts)}

    def end_of(self, attempt: int) -> Outcome:
        """How this attempt ends when nothing from outside interferes."""
        return Outcome.RETRYABLE if attempt <= len(self.failures) else self.ending


def _few(random: Random) -> int:
    return random.choice((0, 0, 0, 1, 1, 2, 3))


def receipt(execution_id: str, at: int, name: str) -> str:
    return f"{execution_id}/{at}/{name}"


@dataclass
class Shop:
    """The world outside. It does what it is told, however often, and counts."""

    acted: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    about_to: Callable[[str], None] = lambda when: None
    """Told at the moments around an action, when a fault is most telling."""


class Desk:
    """streams.nodes.Workshop of one process."""

    def __init__(self, shop: Shop, salt: str) -> None:
        self._shop, self._salt = shop, salt
        self.memory = NoMemory()

    def agent(self, name: str) -> Scripted:
        return Scripted(self._salt)

    def timeout_seconds(self, name: str) -> float:
        return 600.0

    def model(self, workflow: Workflow, node: Node, task: NodeTask) -> ChatModel:
        return Model(self._shop)

    async def tools(self, workflow: Workflow, node: Node, task: NodeTask) -> Tools:
        return Till(self._shop, task)


class NoMemory:
    async def history(self, conversation_id: str, *, before: int, limit: int) -> Sequence[HistoryMessage]:
        return ()

    async def knowledge(self, query: str, *, top_k: int) -> Sequence[Passage]:
        return ()


@dataclass(frozen=True, slots=True)
class Scripted:
    """An agent that follows the script of its node and input."""

    salt: str

    async def run(self, work: Work, *, model: ChatModel, tools: Tools) -> AgentResult:
        script = Script.of(self.salt, work.node_id, work.instruction, work.customer_text)
        failure = script.failures[work.attempt - 1] if work.attempt <= len(script.failures) else ("", -1)
        receipts = []
        for at, step in enumerate(script.steps):
            if script.waits[at]:
                await asyncio.sleep(script.waits[at])
            fails = failure[1] == at
            if step == "model":
                reply = await model.complete(ChatRequest("fail" if fails else "fast", ()))
                assert reply.text == "thought"
            else:
                result = await tools.call(ToolCall(f"c{at}", step, {"at": at} | ({"refuse": True} if fails else {})))
                receipts.append(result.data)
        if script.waits[-1]:
            await asyncio.sleep(script.waits[-1])
        if failure[0] == "agent":
            raise Retryable("the agent would rather try again")
        if script.ending is Outcome.FATAL:
            raise Fatal("the agent cannot do this")
        if script.ending is Outcome.PARK:
            raise Park("the agent asks for a person", details={"v": script.v})
        return AgentResult(script.output(work.node_id, receipts))


@dataclass(frozen=True, slots=True)
class Model:
    shop: Shop

    async def complete(self, request: ChatRequest) -> ChatReply:
        await asyncio.sleep(0)
        if request.profile == "fail":
            raise Retryable("the model is busy")
        self.shop.models["calls"] += 1
        return ChatReply("thought", (), "sim", "sim-1", 10, 5, 0, 7, 1)


@dataclass(frozen=True, slots=True)
class Till:
    """Where tools are called."""

    shop: Shop
    task: NodeTask

    def specs(self) -> Sequence[ToolSpec]:
        return SPECS

    async def call(self, call: ToolCall) -> ToolResult:
        assert call.arguments is not None
        if call.arguments.get("refuse"):
            raise Retryable("the shop is closed")
        name = receipt(self.task.execution_id, call.arguments["at"], call.name)
        if call.name in ACTS:
            self.shop.about_to("act")
            await asyncio.sleep(0.001)
            self.shop.acted[name] += 1
            self.shop.about_to("answer")
        await asyncio.sleep(0.001)
        return ToolResult(True, data=name, entity_id="shop")
