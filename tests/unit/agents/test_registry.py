"""The registry of agents."""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agents.builtin import BUILT_IN, registry
from agents.errors import Fatal
from agents.registry import AgentMetadata, Collaborators, Registration, Registry
from agents.sandbox import Sandbox
from agents.simple import SimpleAgent

OTHERS = (Registration(AgentMetadata(name="haiku", type="simple", description="Rhymes."), lambda _: SimpleAgent()),)


class Installed(EntryPoint):
    """An entry point of a package that is there."""

    def load(self) -> object:
        return OTHERS


def test_the_built_in_agents_have_the_types_of_the_reference_workflow():
    assert registry(with_entry_points=False).agent_types() == {
        "simple_intent_classifier": "simple",
        "simple_response_generator": "simple",
        "simple_response_assembler": "simple",
        "reasoning_support_agent": "reasoning",
        "autonomous_return_agent": "code",
    }


def test_every_built_in_agent_can_be_created():
    made = registry(with_entry_points=False)
    for name in made:
        assert hasattr(made.create(name, Collaborators(Sandbox())), "run")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(Fatal, match=r"'reasoning_suport_agent'.*Did you mean reasoning_support_agent"):
        Registry(BUILT_IN).get("reasoning_suport_agent")


def test_agents_are_listed_by_capability_cost_tier_and_health():
    made = Registry(BUILT_IN)
    made.note_health("simple_intent_classifier", is_healthy=False, error_rate=0.6, checked_ms=9)
    assert [agent.name for agent in made.agents(capability="code_execution")] == ["autonomous_return_agent"]
    assert [agent.name for agent in made.agents(cost_tier="low", healthy=True)] == [
        "simple_response_assembler",
        "simple_response_generator",
    ]
    assert made.get("simple_intent_classifier").error_rate == 0.6


def test_agents_of_other_packages_come_in_by_entry_point():
    made = Registry(BUILT_IN)
    made.load_entry_points([Installed("haiku", "haiku:AGENTS", "hil.agents")])
    assert made.get("haiku").description == "Rhymes."


def test_a_broken_entry_point_harms_nobody_and_is_named_when_its_agent_is_asked_for():
    made = Registry(BUILT_IN)
    made.load_entry_points(
        [EntryPoint("ghost", "no_such_package:agent", "hil.agents"), EntryPoint("odd", "math:pi", "hil.agents")]
    )
    assert len(made.agents()) == len(BUILT_IN)
    with pytest.raises(Fatal, match=r"'ghost'.*failed to load.*no_such_package"):
        made.get("ghost")


def test_what_nothing_would_act_upon_is_refused_with_what_to_say_instead():
    with pytest.raises(ValueError, match=r"haiku: default_model .* supported_models=\('gpt-4',\)"):
        AgentMetadata("haiku", "simple", "Rhymes.", default_model="gpt-4")
    with pytest.raises(ValueError, match=r"haiku: supports_streaming .* drop it"):
        AgentMetadata("haiku", "simple", "Rhymes.", supports_streaming=True)


@pytest.mark.parametrize("field", ["max_tokens", "avg_latency_ms", "max_tools", "max_iterations", "timeout_seconds"])
@pytest.mark.parametrize("number", [0, -1, 10**300, 1e308, float("nan"), float("inf"), "5"], ids=lambda number: str(number)[:9])
def test_a_number_that_is_none_is_refused(field: str, number: object):
    with pytest.raises(ValueError, match=field):
        AgentMetadata("haiku", "simple", "Rhymes.", **{field: number})  # type: ignore[arg-type]  # that is what is tried


USED = {
    "name": ("agents/registry.py", "each.metadata.name"),
    "type": ("agents/registry.py", "metadata.type"),
    "description": ("agents/registry.py", "description: str"),
    "capabilities": ("agents/duty.py", "capabilities"),
    "supported_models": ("streams/app/calls.py", "supported_models"),
    "max_tokens": ("agents/prompts.py", "agent.max_tokens"),
    "cost_tier": ("agents/duty.py", "agent.cost_tier"),
    "avg_latency_ms": ("agents/duty.py", "agent.avg_latency_ms"),
    "requires_tools": ("agents/duty.py", "agent.requires_tools"),
    "max_tools": ("streams/nodes.py", "agent.max_tools"),
    "max_iterations": ("agents/prompts.py", "agent.max_iterations"),
    "timeout_seconds": ("streams/app/workshop.py", ".timeout_seconds"),
    "is_healthy": ("agents/duty.py", "wanted.is_healthy"),
    "last_health_check_ms": ("agents/registry.py", "last_health_check_ms=checked_ms"),
    "error_rate": ("agents/duty.py", "wanted.error_rate"),
}
"""Field → a file that acts upon it, or shows it, and the words there."""


def test_every_field_is_acted_upon_where_the_table_says():
    assert sorted(field.name for field in fields(AgentMetadata)) == sorted(USED)
    root = Path(__file__).parents[3]
    assert [name for name, (file, words) in USED.items() if words not in (root / file).read_text(encoding="utf-8")] == []


def test_a_check_of_its_health_leaves_the_rest_of_an_agent_as_it_is():
    made = Registry([Registration(AgentMetadata("haiku", "simple", "Rhymes.", max_tools=3), lambda _: SimpleAgent())])
    made.note_health("haiku", is_healthy=False, error_rate=0.5, checked_ms=7)
    assert (made.get("haiku").max_tools, made.get("haiku").is_healthy) == (3, False)
