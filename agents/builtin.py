"""The agents that come with the product, and the registry that holds them."""

from __future__ import annotations

from agents.code import CodeAgent
from agents.reasoning import ReasoningAgent
from agents.registry import AgentMetadata, Registration, Registry
from agents.simple import SimpleAgent

BUILT_IN = (
    Registration(
        AgentMetadata(
            name="simple_intent_classifier",
            type="simple",
            description="Tells what a customer wants: an intent, how sure it is, and the things the message names.",
            capabilities=frozenset({"structured_output"}),
            cost_tier="low",
            avg_latency_ms=800,
        ),
        lambda _: SimpleAgent(),
    ),
    Registration(
        AgentMetadata(
            name="simple_response_generator",
            type="simple",
            description="Answers in one go from the prompt, the conversation so far and knowledge passages.",
            capabilities=frozenset({"structured_output", "memory"}),
            cost_tier="low",
            avg_latency_ms=1500,
        ),
        lambda _: SimpleAgent(),
    ),
    Registration(
        AgentMetadata(
            name="simple_response_assembler",
            type="simple",
            description="Makes one reply for the customer out of what earlier nodes found and did.",
            capabilities=frozenset({"structured_output"}),
            cost_tier="low",
            avg_latency_ms=1500,
        ),
        lambda _: SimpleAgent(),
    ),
    Registration(
        AgentMetadata(
            name="reasoning_support_agent",
            type="reasoning",
            description="Thinks, calls tools and reads what they return, in turns, until it can answer.",
            capabilities=frozenset({"structured_output", "tool_calling", "reasoning", "memory"}),
            cost_tier="medium",
            avg_latency_ms=8000,
            max_tools=20,
            max_iterations=10,
        ),
        lambda _: ReasoningAgent(),
    ),
    Registration(
        AgentMetadata(
            name="autonomous_return_agent",
            type="code",
            description="Plans, writes a program against its tools and runs it in a sandbox, then sums up what it did.",
            capabilities=frozenset({"tool_calling", "reasoning", "planning", "code_execution"}),
            cost_tier="high",
            avg_latency_ms=20_000,
            requires_tools=True,
            max_tools=30,
        ),
        lambda collaborators: CodeAgent(collaborators.sandbox),
    ),
)


def registry(*, with_entry_points: bool = True) -> Registry:
    """The built-in agents, and those of installed packages."""
    made = Registry(BUILT_IN)
    if with_entry_points:
        made.load_entry_points()
    return made
