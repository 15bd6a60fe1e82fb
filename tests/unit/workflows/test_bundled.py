"""The workflows that come with the product are valid, and every message finds its way through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.builtin import registry
from connectors.shop.tools import TOOLS
from schemas.workflow.loading import load
from schemas.workflow.scope import template_scope
from schemas.workflow.templates import Template
from streams.workflows.simulate import simulate_file
from streams.workflows.validator import validate

FOLDER = Path(__file__).parents[3] / "workflows"
FILES = sorted(FOLDER.glob("*.yaml"))
SUPPORT, PARALLEL, TRIAGE = (
    FOLDER / f"{name}.yaml" for name in ("customer_support_advanced", "parallel_answer", "two_level_triage")
)
AGENTS = registry(with_entry_points=False).agent_types()


def run(file: Path, outputs: dict[str, Any]) -> dict[str, Any]:
    return simulate_file(
        file, agents=AGENTS, input={"text": "hello"}, outputs={name: {"output": value} for name, value in outputs.items()}
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_has_no_fault_and_no_warning(file: Path) -> None:
    known = {f"{tool.toolkit}.{tool.action}" for tool in TOOLS}
    assert [str(fault) for fault in validate(file, agents=AGENTS, tools=known)[1]] == []


@pytest.mark.parametrize(
    ("intent", "handler"),
    [
        ("order_status", "handle_order_status"),
        ("return_request", "handle_return"),
        ("complaint", "handle_complaint"),
        ("general_inquiry", "handle_general"),
    ],
)
def test_each_intent_has_one_handler_and_one_reply(intent: str, handler: str) -> None:
    result = run(SUPPORT, {"classify_intent": {"intent": intent}})
    assert result["executed"] == ["classify_intent", handler, "assemble_response"]
    assert len(result["skipped"]) == 3


def test_the_parallel_reply_waits_for_all_three() -> None:
    result = simulate_file(
        PARALLEL, agents=AGENTS, input={}, outputs={"look_up_order": {"delay_ms": 50}, "judge_tone": {"delay_ms": 10}}
    )
    assert result["order"] == ["read_message", "find_advice", "judge_tone", "look_up_order", "write_reply"]


def test_a_branch_inside_a_branch_reaches_the_reply() -> None:
    result = run(TRIAGE, {"choose_department": {"department": "orders"}, "sort_order_request": {"request": "return"}})
    assert result["executed"] == ["choose_department", "sort_order_request", "return_order", "assemble_response"]
    assert run(TRIAGE, {"choose_department": {"department": "?"}})["executed"] == [
        "choose_department",
        "answer_other",
        "assemble_response",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_prompts_render_whatever_the_nodes_before_left_out(file: Path) -> None:
    """A model may leave out every optional field, and a message may come without a customer."""
    definition, _ = load(file)
    ids = [node.id for node in definition.workflow.nodes]
    given = {"text": "hello", "customer_email": None, "customer_id": None}
    for outputs in ({}, {name: {} for name in ids}, dict.fromkeys(ids, None), dict.fromkeys(ids, "words")):
        for node in definition.workflow.nodes:
            before = [edge.source for edge in definition.workflow.edges if edge.target == node.id]
            schemas = [each.config.output_schema or {} for each in definition.workflow.nodes if each.id in before]
            declared = [name for schema in schemas for name in schema["properties"]] if all(schemas) else []
            scope = template_scope(given, {}, ids, outputs, before, declared=declared)
            assert "hello" in Template(node.instruction).render(scope, node=node.id)
            Template(node.system_prompt or "").render(scope, node=node.id)
