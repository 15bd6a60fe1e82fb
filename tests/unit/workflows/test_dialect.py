"""A file as customers write theirs is accepted as it is: what it asks of its surroundings is said, not refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from agents.builtin import registry
from connectors.shop.tools import TOOLS
from schemas.workflow.faults import errors
from streams.workflows.simulate import simulate_file
from streams.workflows.validator import validate
from tests.unit.workflows.flows import AGENTS, flow

DESK = Path(__file__).parent / "files" / "desk.yaml"
BUILT_IN = registry(with_entry_points=False).agent_types()
SHOP = {f"{tool.toolkit}.{tool.action}" for tool in TOOLS}


def test_it_is_valid_and_every_warning_says_what_to_do() -> None:
    definition, faults = validate(DESK, agents=BUILT_IN, tools=SHOP)
    assert definition is not None
    assert errors(faults) == []
    assert Counter(fault.code for fault in faults)["undeclared-tool"] == 2
    assert [fault.message for fault in faults if fault.code == "unknown-tool"] == [
        "the tool server knows no `shopify.change_mooring`: a node that names it fails when it runs",
        "the tool server knows no `slack.open_channel`: a node that names it fails when it runs",
    ]
    assert all(fault.remedy for fault in faults)


def test_an_action_that_only_the_node_names_is_a_warning_and_an_app_must_be_declared() -> None:
    """The node's own list is the whitelist."""
    shop = '"version": "1.0.0", "composio": {"apps": [{"name": "shopify", "actions": ["get_order"]}]}'
    node = {"agent": "reasoning_support_agent", "prompt_template": None, "task": "x"}
    said = {
        tool: [
            (fault.severity, fault.code)
            for fault in validate(
                flow("a>END", nodes={"a": {**node, "config": {"tools": [tool]}}}).replace('"version": "1.0.0"', shop),
                agents=AGENTS,
            )[1]
        ]
        for tool in ("shopify.get_order", "Shopify.get_order", "shopify.refund", "slack.send_message")
    }
    assert said == {
        "shopify.get_order": [],
        "Shopify.get_order": [],
        "shopify.refund": [("warning", "undeclared-tool")],
        "slack.send_message": [("error", "undeclared-tool")],
    }


@pytest.mark.parametrize("intent", ["where_is_it", "send_back", "angry", "other"])
def test_every_branch_ends_in_the_reply(intent: str) -> None:
    result = simulate_file(DESK, agents=BUILT_IN, input={"text": "?"}, outputs={"sort_request": {"output": {"intent": intent}}})
    assert (result["status"], len(result["executed"]), len(result["skipped"])) == ("completed", 3, 3)


def test_a_node_that_no_edge_touches_runs_at_the_start() -> None:
    text = flow("a>END", only="lone")
    definition, faults = validate(text, agents=AGENTS)
    assert definition is not None
    assert [(fault.severity, fault.code) for fault in faults] == [("warning", "no-edge")]
    assert set(simulate_file(text, agents=AGENTS, input={}, outputs={})["executed"]) == {"a", "lone"}
