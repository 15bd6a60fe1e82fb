"""What the installation tells the router of a task: whose call it is, its workflow's own profiles, what its node requires."""

from __future__ import annotations

from typing import Any

import pytest

from agents import builtin
from agents.errors import Fatal
from agents.ports import ChatMessage, ChatRequest
from agents.router.catalogue import Catalogue
from agents.router.request import CallContext
from agents.router.router import Router
from agents.router.tokens import TokenCounter
from connectors.settings import Settings
from schemas.events import NodeTask
from schemas.workflow.definition import WorkflowDefinition
from streams.app.calls import Calls, open_calls
from streams.definitions import Definitions, Workflow, published
from tests.unit.router.worlds import Scripted

AGENT = "simple_response_generator"


def workflow(config: dict[str, Any], profiles: dict[str, Any]) -> Workflow:
    node = {"id": "n", "agent": AGENT, "prompt_template": "x", "config": config}
    definition = WorkflowDefinition.model_validate(
        {"name": "w", "version": "1.0.0", "llm_profiles": profiles, "workflow": {"nodes": [node], "edges": []}}
    )
    known = Definitions()
    known.add(published(definition, "", {AGENT: "simple"}, at_ms=0))
    return known.list()[0]


async def ask(profile: str, config: dict[str, Any], profiles: dict[str, Any]) -> tuple[str, ChatRequest]:
    """Who is asked, and with what."""
    catalogue = Catalogue.load()
    providers = {name: Scripted(name) for name in ("openai", "anthropic")}
    calls = Calls(Router(catalogue, providers, TokenCounter()), catalogue, builtin.registry())
    made = workflow(config, profiles)
    task = NodeTask(
        id="t",
        time_ms=0,
        conversation_id="c",
        run_id="r",
        node_id="n",
        execution_id="e",
        attempt=1,
        epoch=0,
        agent=AGENT,
        workflow="w@1.0.0",
        digest=made.published.digest,
        ordinal=1,
        input={},
        context={},
        outputs={},
    )
    model = calls.model(made, made.definition.workflow.nodes[0], task)
    await model.complete(ChatRequest(profile, (ChatMessage("user", "Hello"),)))
    [asked] = [each for provider in providers.values() for each in provider.asked]
    return asked


async def test_a_workflows_own_profile_names_its_models():
    name, _ = await ask("mine", {}, {"mine": {"profile": "fast", "primary": ["gpt-4.1-mini"]}})
    assert name == "gpt-4.1-mini"


async def test_what_a_node_requires_and_may_cost_binds_its_calls():
    assert (await ask("fast", {}, {}))[0] == "claude-3-haiku"
    name, request = await ask("fast", {"required_capabilities": ["vision"], "max_cost_per_call": 0.001}, {})
    assert name == "claude-3-haiku"
    assert request.max_tokens < 4096
    with pytest.raises(Fatal, match=r"over the limit of \$0.00001"):
        await ask("fast", {"max_cost_per_call": "0.00001"}, {})


async def test_a_profile_of_models_nobody_has_fails_the_node_in_words():
    with pytest.raises(Fatal, match=r"llm_profiles of the workflow w: .*'gpt-9'"):
        await ask("mine", {}, {"mine": {"primary": ["gpt-9"]}})


async def test_without_any_provider_the_start_says_what_to_set():
    with pytest.raises(Fatal, match="ANTHROPIC_API_KEY"):
        async with open_calls(Settings(), builtin.registry()):
            pass


async def test_the_rehearsals_models_are_served_at_the_endpoint_of_hil_up():
    async with open_calls(Settings(llm_base_url="http://127.0.0.1:9/v1"), builtin.registry()) as calls:
        decision = calls.router.decide(ChatRequest("fast", (ChatMessage("user", "Hello"),)), CallContext())
    assert decision.chosen is not None
    assert decision.chosen.model.name == "rehearsal-fast"
