"""What node workers work with: one router, one tool client, one sandbox and one memory for the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from agents import builtin
from agents.ports import Agent, ChatModel, Memory, Tools
from agents.registry import Collaborators, Registry
from agents.sandbox import Sandbox
from connectors.composio.client import ComposioClient
from connectors.composio.client import configure as configure_tools
from connectors.composio.tools import Toolbox
from connectors.embeddings import configured_embedder, in_words
from connectors.postgres.knowledge import KnowledgeStore
from connectors.postgres.memory import PostgresMemory
from connectors.postgres.pool import open_pool
from connectors.settings import Settings
from schemas.events import NodeTask
from schemas.workflow.definition import Node
from streams.app.calls import Calls, open_calls
from streams.definitions import Workflow

PROJECTION_PATIENCE_S = 15.0
"""How long a node waits for the tables to catch up with the conversation before its attempt counts as failed."""


@dataclass(slots=True)
class OpenWorkshop:
    """streams.nodes.Workshop on the real parts."""

    registry: Registry
    collaborators: Collaborators
    memory: Memory
    calls: Calls
    toolbox: Toolbox
    made: dict[str, Agent] = field(default_factory=dict)

    def agent(self, name: str) -> Agent:
        if name not in self.made:
            self.made[name] = self.registry.create(name, self.collaborators)
        return self.made[name]

    def timeout_seconds(self, name: str) -> float:
        return self.registry.get(name).timeout_seconds

    def model(self, workflow: Workflow, node: Node, task: NodeTask) -> ChatModel:
        return self.calls.model(workflow, node, task)

    async def tools(self, workflow: Workflow, node: Node, task: NodeTask) -> Tools:
        return await self.toolbox.for_node(node, workflow.definition, task.input, task.context)


@asynccontextmanager
async def open_workshop(
    settings: Settings, database_url: str, report: Callable[[str], None] = lambda line: None
) -> AsyncIterator[OpenWorkshop]:
    """Open the clients that nodes share, and report what was chosen where there was a choice.

    Raises Fatal or StorageError, in words, when one is not configured.
    """
    environ = settings.environment()
    async with AsyncExitStack() as stack:
        registry = builtin.registry()
        calls = await stack.enter_async_context(open_calls(settings, registry))
        tools = configure_tools(environ)
        client = await stack.enter_async_context(ComposioClient(tools)) if tools is not None else None
        pool = await stack.enter_async_context(await open_pool(database_url))
        embedder = configured_embedder(environ)
        report(in_words(embedder))
        sandbox = Sandbox()
        stack.push_async_callback(sandbox.close)
        yield OpenWorkshop(
            registry=registry,
            collaborators=Collaborators(sandbox),
            memory=PostgresMemory(pool, KnowledgeStore(pool, embedder), patience_seconds=PROJECTION_PATIENCE_S),
            calls=calls,
            toolbox=Toolbox(client),
        )
