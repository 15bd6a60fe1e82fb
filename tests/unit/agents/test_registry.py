"""The registry of agents."""

from __future__ import annotations

from importlib.metadata import EntryPoint

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
