"""The reference workflow over real HTTP, without Kafka: classify, the branch its edges choose, assemble. For tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import builtin
from agents.ports import HistoryMessage, Passage
from agents.prompts import prepare
from agents.registry import Collaborators, Registry
from agents.router.catalogue import Catalogue
from agents.router.installs import installed
from agents.router.request import CallContext
from agents.router.router import Router
from agents.router.tokens import TokenCounter
from agents.sandbox import Sandbox
from connectors.composio.client import ComposioClient
from connectors.composio.client import configure as configure_tools
from connectors.composio.tools import Toolbox
from connectors.embeddings import embed
from connectors.llm.opening import providers
from connectors.postgres.chunks import chunks
from connectors.rehearsal.server import serve_rehearsal
from connectors.shop import serve_shop
from schemas.events import NodeTask
from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.loading import load

ROOT = Path(__file__).parents[2]
ASSEMBLE = "assemble_response"


@dataclass(slots=True)
class Shelf:
    """agents.ports.Memory over the bundled help pages and one list of messages."""

    passages: list[tuple[str, str]] = field(default_factory=list)
    vectors: list[list[float]] = field(default_factory=list)
    said: dict[str, list[HistoryMessage]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted((ROOT / "workflows" / "knowledge").glob("*.md")):
            self.passages += [(chunk.heading, chunk.text) for chunk in chunks(path.read_text(encoding="utf-8"))]
        self.vectors = embed([f"{title}\n{text}" for title, text in self.passages])

    async def history(self, conversation_id: str, *, before: int, limit: int) -> Sequence[HistoryMessage]:
        return self.said.get(conversation_id, [])[-limit:]

    async def knowledge(self, query: str, *, top_k: int) -> Sequence[Passage]:
        asked = embed([query])[0]
        scored = [
            Passage(title, text, sum(a * b for a, b in zip(asked, vector, strict=True)))
            for (title, text), vector in zip(self.passages, self.vectors, strict=True)
        ]
        return sorted(scored, key=lambda passage: -passage.score)[:top_k]


@dataclass(frozen=True, slots=True)
class Answer:
    intent: str
    text: str
    outputs: Mapping[str, Any]
    tools: tuple[str, ...]


@dataclass(slots=True)
class Desk:
    definition: WorkflowDefinition
    registry: Registry
    collaborators: Collaborators
    router: Router
    toolbox: Toolbox
    shelf: Shelf
    llm_base_url: str
    shop_base_url: str

    async def answer(self, message: Mapping[str, Any]) -> Answer:
        outputs: dict[str, Any] = {}
        tools = await self._run("classify_intent", message, outputs)
        branch = next(
            edge.target
            for edge in self.definition.workflow.edges
            if edge.condition is not None and f"'{outputs['classify_intent']['intent']}'" in str(edge.condition.expression)
        )
        tools += await self._run(branch, message, outputs)
        tools += await self._run(ASSEMBLE, message, outputs)
        turns = self.shelf.said.setdefault(message["conversation_id"], [])
        turns += [HistoryMessage("customer", message["text"]), HistoryMessage("agent", outputs[ASSEMBLE])]
        return Answer(outputs["classify_intent"]["intent"], outputs[ASSEMBLE], outputs, tuple(tools))

    async def _run(self, node_id: str, message: Mapping[str, Any], outputs: dict[str, Any]) -> list[str]:
        node = next(node for node in self.definition.workflow.nodes if node.id == node_id)
        fields = {key: message.get(key) for key in ("text", "conversation_id", "customer_id", "customer_email")}
        task = NodeTask(
            id=f"{message['conversation_id']}-{node_id}",
            time_ms=1_795_392_000_000,
            conversation_id=message["conversation_id"],
            run_id="run",
            node_id=node_id,
            execution_id=f"exec-{message['conversation_id']}-{node_id}",
            attempt=1,
            epoch=0,
            agent=node.agent,
            workflow="customer_support_advanced@2.0.0",
            digest="d",
            ordinal=1,
            input={**fields, "message": fields["text"], "customer_message": fields["text"]},
            context=message.get("context", {}),
            outputs=outputs,
        )
        work = await prepare(task, node, self.definition, self.shelf)
        tools = await self.toolbox.for_node(node, self.definition, task.input, task.context)
        result = await self.registry.create(node.agent, self.collaborators).run(
            work, model=self.router.bound(CallContext(message["conversation_id"], task.workflow, node_id)), tools=tools
        )
        outputs[node_id] = result.output
        called = [step["action"].get("tool") for step in result.steps if "tool" in (step.get("action") or {})]
        return called + [call["tool"] for step in result.steps for call in step.get("calls", [])]


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """Both servers and the product's own clients, agents and sandbox against them."""
    async with AsyncExitStack() as stack:
        model, llm_base_url = await serve_rehearsal()
        stack.push_async_callback(model.close)
        shop, shop_base_url = await serve_shop()
        stack.push_async_callback(shop.close)
        opened = await stack.enter_async_context(providers({}, llm_base_url))
        router = Router(installed(Catalogue.load(), providers=opened), opened, TokenCounter())
        tools = configure_tools({}, shop_url=shop_base_url)
        assert tools is not None
        client = await stack.enter_async_context(ComposioClient(tools))
        sandbox = Sandbox()
        stack.push_async_callback(sandbox.close)
        definition, _ = load(ROOT / "workflows" / "customer_support_advanced.yaml")
        yield Desk(
            definition,
            builtin.registry(),
            Collaborators(sandbox),
            router,
            Toolbox(client),
            Shelf(),
            llm_base_url,
            shop_base_url,
        )
