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
from tests.unit.llm.misbehaving import HANG_UP, Asked, answer, serving
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


async def chosen_at(names: Any, models: dict[str, str] | None = None) -> tuple[dict[str, str], list[Asked]]:
    """Profile → what would be asked for at an endpoint of one's own that lists these; and what the endpoint was asked."""
    sent = names
    if isinstance(names, list):
        sent = answer({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
    async with serving(sent) as server:
        settings = Settings(llm_base_url=f"{server.url}/v1", llm_api_key="sk-own", models=models or {})
        async with open_calls(settings, builtin.registry()) as calls:
            found = {}
            for profile in ("fast", "balanced", "powerful"):
                decision = calls.router.decide(ChatRequest(profile, (ChatMessage("user", "Hello"),)), CallContext())
                assert decision.chosen is not None
                found[profile] = decision.chosen.model.wire
        return found, server.asked


async def test_the_rehearsals_models_are_served_at_the_endpoint_of_hil_up():
    found, _ = await chosen_at(["rehearsal-fast", "rehearsal-balanced", "rehearsal-powerful"])
    assert found == {profile: f"rehearsal-{profile}" for profile in found}


async def test_the_one_model_of_an_endpoint_of_ones_own_serves_every_profile_and_its_key_is_sent():
    found, asked = await chosen_at(["nomic-embed-text", "llama3:8b", "bge-reranker"])
    assert set(found.values()) == {"llama3:8b"}
    assert [(each.path, each.headers["authorization"]) for each in asked] == [("/v1/models", "Bearer sk-own")]


async def test_of_models_the_catalogue_knows_each_profile_gets_its_own():
    found, _ = await chosen_at(["gpt-4", "gpt-3.5-turbo", "gpt-4-turbo-preview"])
    assert found == {"fast": "gpt-3.5-turbo", "balanced": "gpt-4-turbo-preview", "powerful": "gpt-4"}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (answer({"error": {"message": "No connected db."}}, 400), "it answered 400: No connected db."),
        (answer({"error": "no such route"}, 404), "404"),
        (answer(b"<html>"), "does not say which models it has"),
        (answer({"data": []}), "does not say which models it has"),
        (HANG_UP, "does not say which models it has"),
    ],
    ids=["refused", "no list", "web page", "nothing", "gone"],
)
async def test_an_endpoint_that_lists_nothing_is_asked_for_any_model_and_the_start_says_so(sent, words, caplog):
    found, _ = await chosen_at(sent)
    assert set(found.values()) == {"default"}
    assert words in caplog.text
    assert "Set HIL_MODEL_FAST" in caplog.text


async def test_a_model_the_endpoint_does_not_have_is_said_with_the_setting_that_names_it(caplog):
    found, _ = await chosen_at(["llama3:8b"], {"fast": "llama4"})
    assert found["fast"] == "llama4"
    assert "has no model llama4, which HIL_MODEL_FAST names: it has llama3:8b" in caplog.text
