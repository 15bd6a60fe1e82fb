"""The models that nodes call: one router for the process, and for each task whose call it is and what it may cost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agents.errors import Fatal
from agents.ports import ChatModel
from agents.registry import Registry
from agents.router.breakers import Changed
from agents.router.catalogue import Catalogue
from agents.router.faults import CatalogueError
from agents.router.health import Health
from agents.router.installs import configured
from agents.router.profiles import Profile
from agents.router.request import CallContext, Constraints
from agents.router.router import Router
from agents.router.tokens import TokenCounter
from connectors.llm.opening import providers
from connectors.settings import Settings
from schemas.events import NodeTask
from schemas.workflow.definition import Node
from streams.app.announcing import said
from streams.app.own_endpoint import with_named_models
from streams.definitions import Workflow

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Calls:
    """Binds the router to tasks."""

    router: Router
    catalogue: Catalogue
    registry: Registry
    _profiles: dict[str, Mapping[str, Profile]] = field(default_factory=dict)
    """By digest: a workflow's own profiles do not change."""

    def model(self, workflow: Workflow, node: Node, task: NodeTask) -> ChatModel:
        """Raises Fatal for an agent or a profile that cannot be."""
        config = node.config
        most = config.max_cost_per_call
        return self.router.bound(
            CallContext(
                conversation_id=task.conversation_id,
                workflow=task.workflow,
                node_id=task.node_id,
                agent=task.agent,
                execution_id=task.execution_id,
                attempt=task.attempt,
                supported_models=self.registry.get(task.agent).supported_models,
                required_capabilities=frozenset(config.required_capabilities),
                constraints=Constraints(None if most is None else int(most.scaleb(6)), config.max_latency_ms),
                profiles=self._own(workflow),
                patience_s=node.timeout_seconds or self.registry.get(task.agent).timeout_seconds,
            )
        )

    def _own(self, workflow: Workflow) -> Mapping[str, Profile]:
        written = workflow.definition.llm_profiles
        if not written:
            return {}
        digest = workflow.published.digest
        if digest not in self._profiles:
            try:
                self._profiles[digest] = self.catalogue.with_profiles(written).profiles
            except CatalogueError as error:
                raise Fatal(f"llm_profiles of the workflow {workflow.published.name}: {' '.join(error.faults)}") from error
        return self._profiles[digest]


@asynccontextmanager
async def open_calls(settings: Settings, registry: Registry) -> AsyncIterator[Calls]:
    """Open the providers the environment configures. Raises Fatal or CatalogueError, in words."""
    listed = Catalogue.load(settings.catalog)
    settings, words = await with_named_models(settings, listed)
    for line in words:
        log.warning("%s", line)
    environ = settings.environment()
    catalogue = configured(listed, environ)
    # An endpoint of one's own for which nobody names a model is taken to be the rehearsal's: `hil up` makes it so.
    async with providers(environ, settings.llm_base_url) as opened:
        if not opened:
            raise Fatal(
                "no model provider is configured. Set OPENAI_API_KEY, ANTHROPIC_API_KEY or HIL_LLM_BASE_URL (any "
                "OpenAI-compatible endpoint), or start with `hil up`, which brings a stand-in."
            )
        counter = TokenCounter()
        served = [model for model in catalogue.models.values() if model.provider in opened]
        await asyncio.to_thread(counter.warm, served)
        yield Calls(Router(catalogue, opened, counter, health=Health(on_change=tell)), catalogue, registry)


def tell(change: Changed) -> None:
    """Let those who read the log know that a model is left alone, or asked again."""
    if change.after != "half_open":
        log.warning("%s", said(change))
