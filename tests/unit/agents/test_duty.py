"""Who stands in for an unhealthy agent: the healthy one with the largest overlap, at least half, or nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.builtin import registry as built_in
from agents.duty import NobodyHealthy, on_duty, replacement
from agents.errors import Fatal
from agents.registry import AgentMetadata, AgentType, Capability, CostTier, Registration, Registry
from agents.simple import SimpleAgent


def agent(
    name: str,
    *capabilities: Capability,
    type: AgentType = "simple",
    cost_tier: CostTier = "low",
    requires_tools: bool = False,
) -> AgentMetadata:
    return AgentMetadata(name, type, "", frozenset(capabilities), cost_tier=cost_tier, requires_tools=requires_tools)


def registered(*agents: AgentMetadata) -> Registry:
    return Registry(Registration(each, lambda _: SimpleAgent()) for each in agents)


def sicken(registry: Registry, *names: str, healthy: bool = False) -> None:
    for name in names:
        registry.note_health(name, is_healthy=healthy, error_rate=0.0 if healthy else 0.6, checked_ms=1)


WANTED = agent("wanted", "structured_output", "tool_calling", "reasoning", "memory")


def test_a_healthy_agent_does_its_own_work():
    assert on_duty(registered(WANTED, agent("other", *WANTED.capabilities)), "wanted", tools=True).name == "wanted"


def test_the_largest_overlap_stands_in():
    two, three = agent("a-two", "reasoning", "memory"), agent("z-three", "reasoning", "memory", "tool_calling", "vision")
    found = replacement(WANTED, [two, three], tools=True)
    assert found is three


def test_half_of_the_capabilities_is_enough_and_less_is_not():
    assert replacement(WANTED, [agent("half", "reasoning", "memory")], tools=True) is not None
    assert replacement(WANTED, [agent("less", "reasoning", "vision", "planning")], tools=True) is None


def test_of_equals_the_same_type_then_the_cheapest_then_the_first_by_name():
    other_type = agent("a", *WANTED.capabilities, type="reasoning")
    dear = agent("b", *WANTED.capabilities, cost_tier="high")
    later, first = agent("d", *WANTED.capabilities), agent("c", *WANTED.capabilities)
    assert replacement(WANTED, [other_type, dear, later, first], tools=True) is first
    assert replacement(WANTED, [other_type, dear], tools=True) is dear


def test_of_equals_that_cost_the_same_the_quickest_stands_in():
    slow, quick = (replace(agent(name, *WANTED.capabilities), avg_latency_ms=ms) for name, ms in (("a", 900), ("b", 100)))
    assert replacement(WANTED, [slow, quick], tools=True) is quick


def test_an_agent_that_needs_tools_does_not_stand_in_where_there_are_none():
    needs = agent("needs", *WANTED.capabilities, requires_tools=True)
    assert replacement(WANTED, [needs], tools=False) is None
    assert replacement(WANTED, [needs], tools=True) is needs


def test_an_agent_of_which_nothing_is_known_cannot_be_replaced():
    assert replacement(agent("bare"), [agent("any", "memory")], tools=True) is None


def test_nobody_healthy_is_a_failure_in_words_that_is_not_held_against_the_agent():
    made = registered(WANTED, agent("other", *WANTED.capabilities))
    sicken(made, "wanted", "other")
    with pytest.raises(NobodyHealthy, match=r"agent wanted is unhealthy: 60% .* no healthy agent has at least half") as caught:
        on_duty(made, "wanted", tools=True)
    assert isinstance(caught.value, Fatal)
    assert caught.value.fault == "agents"


def test_who_is_healthy_again_works_again():
    made = registered(WANTED, agent("other", *WANTED.capabilities))
    sicken(made, "wanted")
    assert on_duty(made, "wanted", tools=True).name == "other"
    sicken(made, "wanted", healthy=True)
    assert on_duty(made, "wanted", tools=True).name == "wanted"


@pytest.mark.parametrize("name", list(built_in(with_entry_points=False)))
def test_each_built_in_agent_has_somebody_to_stand_in(name: str):
    made = built_in(with_entry_points=False)
    sicken(made, name)
    found = on_duty(made, name, tools=True)
    assert 2 * len(found.capabilities & made.get(name).capabilities) >= len(made.get(name).capabilities)
