"""Nothing a file may say is accepted and ignored: each field is acted upon somewhere, or is refused or warned of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from schemas.workflow.definition import WorkflowDefinition
from streams.workflows.validator import validate
from tests.unit.workflows.flows import AGENTS

ROOT = Path(__file__).parents[3]

ACTED = {
    "name": ("streams/core/graph.py", "definition.name"),
    "version": ("streams/core/graph.py", "definition.version"),
    "description": ("streams/workflows/show.py", "definition.description"),
    "llm_profiles": ("streams/app/calls.py", "llm_profiles"),
    "composio.apps[].name": ("connectors/composio/tools.py", "app.name"),
    "composio.apps[].entity_id_source": ("connectors/composio/tools.py", "entity_id_source"),
    "composio.apps[].actions": ("schemas/workflow/definition.py", "self.actions"),
    "workflow.nodes[].id": ("streams/core/graph.py", "node.id"),
    "workflow.nodes[].agent": ("streams/core/graph.py", "node.agent"),
    "workflow.nodes[].description": None,
    "workflow.nodes[].config.model_profile": ("agents/prompts.py", "config.model_profile"),
    "workflow.nodes[].config.output_schema": ("agents/prompts.py", "config.output_schema"),
    "workflow.nodes[].config.temperature": ("agents/prompts.py", "config.temperature"),
    "workflow.nodes[].config.max_iterations": ("agents/prompts.py", "config.max_iterations"),
    "workflow.nodes[].config.max_retries": ("agents/prompts.py", "config.max_retries"),
    "workflow.nodes[].config.max_tokens": ("agents/prompts.py", "config.max_tokens"),
    "workflow.nodes[].config.required_capabilities": ("streams/app/calls.py", "required_capabilities"),
    "workflow.nodes[].config.max_cost_per_call": ("streams/app/calls.py", "max_cost_per_call"),
    "workflow.nodes[].config.max_latency_ms": ("streams/app/calls.py", "max_latency_ms"),
    "workflow.nodes[].config.tools": ("schemas/workflow/definition.py", "self.tools"),
    "workflow.nodes[].config.allowed_tools": ("schemas/workflow/definition.py", "self.allowed_tools"),
    "workflow.nodes[].config.context_sources": ("agents/prompts.py", "context_sources"),
    "workflow.nodes[].prompt_template": ("schemas/workflow/definition.py", "self.prompt_template"),
    "workflow.nodes[].task": ("schemas/workflow/definition.py", "self.task"),
    "workflow.nodes[].goal": ("schemas/workflow/definition.py", "self.goal"),
    "workflow.nodes[].system_prompt": ("agents/prompts.py", "node.system_prompt"),
    "workflow.nodes[].condition.type": ("streams/core/conditions.py", "condition.type"),
    "workflow.nodes[].condition.expression": ("streams/core/conditions.py", "condition.expression"),
    "workflow.nodes[].join": ("streams/core/graph.py", "node.join"),
    "workflow.nodes[].timeout_seconds": ("streams/core/graph.py", "node.timeout_seconds"),
    "workflow.nodes[].retry.max_attempts": ("streams/core/advance.py", "retry"),
    "workflow.nodes[].retry.initial_delay_seconds": ("streams/core/advance.py", "initial_delay_seconds"),
    "workflow.nodes[].retry.backoff": ("streams/core/advance.py", "backoff"),
    "workflow.nodes[].retry.max_delay_seconds": ("streams/core/advance.py", "max_delay_seconds"),
    "workflow.nodes[].on_error.output": ("streams/core/advance.py", ".output"),
    "workflow.edges[].from": ("streams/core/graph.py", "edge.source"),
    "workflow.edges[].to": ("streams/core/graph.py", "edge.target"),
    "workflow.edges[].condition.type": ("streams/core/conditions.py", "condition.type"),
    "workflow.edges[].condition.expression": ("streams/core/conditions.py", "condition.expression"),
    "workflow.edges[].on": ("streams/core/graph.py", "edge.on"),
    "memory.short_term.window_size": ("agents/prompts.py", "short_term.window_size"),
    "memory.long_term.top_k": ("agents/prompts.py", "long_term.top_k"),
    "cost_controls.max_cost_per_conversation": ("streams/core/graph.py", "max_cost_per_conversation"),
    "cost_controls.daily_budget": ("streams/ledger/overseer.py", "daily_budget"),
    "cost_controls.monthly_budget": ("streams/ledger/overseer.py", "monthly_budget"),
    "cost_controls.alert_threshold": ("streams/ledger/overseer.py", "alert_threshold"),
    "monitoring.alert_on_error_rate": ("streams/ledger/overseer.py", "alert_on_error_rate"),
    "failure_response": ("streams/core/graph.py", "failure_response"),
    "timeout_seconds": ("streams/core/graph.py", "definition.timeout_seconds"),
    "entities": ("connectors/composio/tools.py", "definition.entities"),
    "conversations": ("streams/core/graph.py", "definition.conversations"),
}
"""Field → a file that acts upon it, and the words there. None: it is for people who read the file."""

SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "workflow.nodes[].approval": ("error", {"node": {"approval": {"team": "desk"}}}),
    "memory.strategy": ("error", {"memory": {"strategy": "long_term_only"}}),
    "memory.short_term.type": ("error", {"memory": {"short_term": {"type": "redis"}}}),
    "memory.long_term.type": ("warning", {"memory": {"long_term": {"type": "pinecone"}}}),
    "memory.long_term.index": ("warning", {"memory": {"long_term": {"index": "mine"}}}),
    "monitoring.track_latency": ("error", {"monitoring": {"track_latency": False}}),
    "monitoring.track_costs": ("error", {"monitoring": {"track_costs": False}}),
    "monitoring.track_tool_usage": ("error", {"monitoring": {"track_tool_usage": False}}),
    "trigger": ("error", {"trigger": {"topic": "orders"}}),
}
"""Field → how a value that nothing acts upon is told of, and one such value."""


def fields(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        here = f"{path}{field.alias or name}"
        inner = list(_models(field.annotation))
        for each, many in inner:
            yield from fields(each, f"{here}{'[]' if many else ''}.")
        if not inner:
            yield here


def _models(annotation: Any, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, many
    for argument in get_args(annotation):
        yield from _models(argument, many or getattr(annotation, "__origin__", None) is list)


def test_the_tables_have_every_field_once() -> None:
    """A new field is acted upon, refused or warned of, and then stands here."""
    assert sorted(fields(WorkflowDefinition)) == sorted([*ACTED, *SAID])


@pytest.mark.parametrize("field", [field for field, place in ACTED.items() if place is not None])
def test_what_is_acted_upon_is_so_where_the_table_says(field: str) -> None:
    place = ACTED[field]
    assert place is not None
    assert place[1] in (ROOT / place[0]).read_text(encoding="utf-8")


def flow(*, node: dict[str, Any] | None = None, **more: Any) -> str:
    nodes = [{"id": "a", "agent": "reasoning_support_agent", "task": "go", **(node or {})}]
    return json.dumps({"name": "f", "version": "1.0.0", "workflow": {"nodes": nodes}, **more}, indent=1)


@pytest.mark.parametrize("field", SAID)
def test_what_nothing_acts_upon_is_told_of_at_its_place_with_a_way_out(field: str) -> None:
    severity, given = SAID[field]
    [fault] = validate(flow(**given), agents=AGENTS)[1]
    assert (fault.severity, ".".join(map(str, fault.path)).replace(".0.", "[].")) == (severity, field)
    assert fault.remedy
    assert fault.line > 1


@pytest.mark.parametrize(
    ("agent", "key", "refused"),
    [
        ("simple_intent_classifier", "max_iterations", True),
        ("simple_intent_classifier", "max_retries", True),
        ("reasoning_support_agent", "max_iterations", False),
        ("reasoning_support_agent", "max_retries", True),
        ("autonomous_return_agent", "max_iterations", True),
        ("autonomous_return_agent", "max_retries", False),
    ],
)
def test_a_bound_of_another_kind_of_agent_is_an_error(agent: str, key: str, refused: bool) -> None:
    instruction = {"simple_intent_classifier": "prompt_template", "autonomous_return_agent": "goal"}.get(agent, "task")
    node = {"agent": agent, "task": None, instruction: "go", "config": {key: 3}}
    found = validate(flow(node=node), agents=AGENTS)[1]
    assert [(fault.severity, fault.path[-1]) for fault in found] == ([("error", key)] if refused else [])


def test_what_was_written_as_things_are_is_fine() -> None:
    same = {
        "memory": {"strategy": "hybrid", "short_term": {"type": "postgres"}, "long_term": {"type": "pgvector"}},
        "monitoring": {"track_latency": True, "track_costs": True, "track_tool_usage": True},
        "trigger": {},
    }
    assert validate(flow(**same), agents=AGENTS)[1] == []
