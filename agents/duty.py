"""Who works when an agent is asked for: itself, or while it is unhealthy the healthy one that can do most of the same."""

from __future__ import annotations

from collections.abc import Iterable

from agents.errors import Fatal
from agents.registry import AgentMetadata, Registry


class NobodyHealthy(Fatal):
    """An unhealthy agent was asked for, and nobody can stand in. Says nothing about the agents there are now."""

    fault = "agents"
    reached = False


def on_duty(registry: Registry, name: str, *, tools: bool) -> AgentMetadata:
    """The agent that works on a node which asks for `name`. `tools`: whether the node has any. Raises Fatal,
    also for a name that nobody registers.
    """
    wanted = registry.get(name)
    if wanted.is_healthy:
        return wanted
    found = replacement(wanted, registry.agents(healthy=True), tools=tools)
    if found is None:
        wants = ", ".join(sorted(wanted.capabilities)) or "none"
        raise NobodyHealthy(
            f"agent {name} is unhealthy: {wanted.error_rate:.0%} of its executions within 24 hours failed, and no healthy agent "
            f"has at least half of its capabilities ({wants}). See why they failed with `hil watch workflow.events` and mend it, "
            "or register another agent that can do this. It is asked again once fewer than half of them are failures"
        )
    return found


def replacement(wanted: AgentMetadata, healthy: Iterable[AgentMetadata], *, tools: bool) -> AgentMetadata | None:
    """The one with the largest overlap of capabilities, at least half of what `wanted` has; None when nobody has that.

    Of equals the one of the same type, then the cheapest, then the quickest, then the first by name.
    """
    tiers = ("low", "medium", "high")

    def rank(agent: AgentMetadata) -> tuple[int, bool, int, int, str]:
        tier = tiers.index(agent.cost_tier)
        return -_overlap(wanted, agent), agent.type != wanted.type, tier, agent.avg_latency_ms, agent.name

    able = [
        agent
        for agent in healthy
        if agent.name != wanted.name
        and 0 < len(wanted.capabilities) <= 2 * _overlap(wanted, agent)
        and (tools or not agent.requires_tools)
    ]
    return min(able, key=rank, default=None)


def _overlap(one: AgentMetadata, other: AgentMetadata) -> int:
    return len(one.capabilities & other.capabilities)
