"""Every number of a workflow file has bounds, and what is beyond them is said in words, at once, by whoever reads the file."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.bounds import MOST_USD, YEAR_S
from schemas.workflow.definition import CostControls, Node, WorkflowDefinition
from schemas.workflow.faults import errors
from streams.core.graph import compile_graph
from streams.workflows.validator import validate
from tests.unit.workflows.flows import AGENTS

FILE = """name: n
version: 1.0.0
timeout_seconds: 60
workflow:
  nodes:
    - id: a
      agent: reasoning_support_agent
      task: go
      timeout_seconds: 60
      retry: {max_attempts: 2, initial_delay_seconds: 1, backoff: 2, max_delay_seconds: 9}
      config: {temperature: 0.5, max_iterations: 3, max_tokens: 100, max_cost_per_call: 0.5, max_latency_ms: 900}
memory: {short_term: {window_size: 9}, long_term: {top_k: 3}}
cost_controls: {max_cost_per_conversation: 0.5, daily_budget: 10, monthly_budget: 100, alert_threshold: 0.8}
monitoring: {alert_on_error_rate: 0.1}
llm_profiles: {mine: {primary: [m], max_cost_usd: 0.1, max_latency_ms: 800}}
"""
FIELDS = {
    "timeout_seconds: 60": "timeout_seconds: @",
    "max_attempts: 2": "max_attempts: @",
    "initial_delay_seconds: 1": "initial_delay_seconds: @",
    "backoff: 2": "backoff: @",
    "max_delay_seconds: 9": "max_delay_seconds: @",
    "temperature: 0.5": "temperature: @",
    "max_iterations: 3": "max_iterations: @",
    "max_tokens: 100": "max_tokens: @",
    "max_cost_per_call: 0.5": "max_cost_per_call: @",
    "max_latency_ms: 900": "max_latency_ms: @",
    "window_size: 9": "window_size: @",
    "top_k: 3": "top_k: @",
    "max_cost_per_conversation: 0.5": "max_cost_per_conversation: @",
    "daily_budget: 10": "daily_budget: @",
    "monthly_budget: 100": "monthly_budget: @",
    "alert_threshold: 0.8": "alert_threshold: @",
    "alert_on_error_rate: 0.1": "alert_on_error_rate: @",
}
BEYOND = [
    "1e18",
    "1e308",
    "1e999999",
    '"1e999999"',
    '"1e900000"',
    "-1",
    ".nan",
    '"nan"',
    ".inf",
    '"Infinity"',
    "true",
    "0x" + "f" * 400_000,
    "9" * 900_000,
    '"' + "9" * 900_000 + '"',
    "190:20:30",
    "[1]",
]


def found(text: str) -> list[str]:
    return [str(fault) for fault in errors(validate(text, agents=AGENTS, profile_faults=None, file="f.yaml")[1])]


def test_the_file_itself_is_fine() -> None:
    assert found(FILE) == []


@pytest.mark.parametrize("written", FIELDS, ids=lambda field: field.partition(":")[0])
@pytest.mark.parametrize("value", BEYOND, ids=lambda value: value[:12])
def test_a_number_beyond_its_bounds_is_a_fault_with_its_line(written: str, value: str) -> None:
    text = FILE.replace(written, FIELDS[written].replace("@", value), 1)
    line = 1 + FILE[: FILE.index(written)].count("\n")
    said = found(text)
    assert [each for each in said if each.startswith(f"f.yaml:{line}: ")], said
    assert all(len(each) < 400 for each in said)


@pytest.mark.parametrize(
    "version",
    ["1", "1.0", "1.0.0.0", "01.0.0", "1.0.01", "1.0.0-01", "v1.0.0", "1.0.0 ", "١.٠.٠", "1.0.0-²", "9" * 130 + ".0.0"],
)
def test_what_is_no_version_is_a_fault(version: str) -> None:
    assert [each for each in found(FILE.replace("version: 1.0.0", f'version: "{version}"')) if each.startswith("f.yaml:2: ")]


@pytest.mark.parametrize("version", ["0.0.0", "1.0.0-a-01", "1.0.0-rc.1+build.007", "10.20.30"])
def test_what_is_a_version_is_none(version: str) -> None:
    assert found(FILE.replace("version: 1.0.0", f'version: "{version}"')) == []


@pytest.mark.parametrize("value", ["9" * 4_000, "1" + "0" * 30, "-9223372036854775809", "0x" + "f" * 17])
def test_an_integer_beyond_64_bits_is_a_fault_wherever_it_stands(value: str) -> None:
    """Also where any value may stand: it would not come back from the topic as it was."""
    for place in ("entities: {customer_id: @}", "trigger: {n: @}"):
        assert found(FILE + place.replace("@", value))


def test_the_largest_that_is_accepted_can_be_run() -> None:
    most = {"max_attempts": 100, "initial_delay_seconds": YEAR_S, "backoff": 100, "max_delay_seconds": YEAR_S}
    body: dict[str, Any] = {
        "name": "n",
        "version": "1.0.0",
        "timeout_seconds": YEAR_S,
        "workflow": {"nodes": [{"id": "a", "agent": "x", "timeout_seconds": YEAR_S, "retry": most}]},
        "cost_controls": {"max_cost_per_conversation": MOST_USD},
    }
    graph = compile_graph(WorkflowDefinition.model_validate(body), {"x": "simple"}, "d")
    assert graph.max_cost_micro_usd == MOST_USD * 1_000_000 < 2**63
    assert graph.timeout_ms == YEAR_S * 1_000 < 2**53


@pytest.mark.parametrize(
    "value", [Decimal("1e999999"), "1e-999999", "0." + "0" * 900_000 + "1", 10**400, True, float("nan"), "9" * 5_000]
)
def test_dollars_are_bounded_in_size_and_digits_without_counting_them(value: Any) -> None:
    began = time.process_time()
    with pytest.raises(ValidationError):
        CostControls(daily_budget=value)
    assert time.process_time() - began < 5


def test_a_truth_value_is_no_number() -> None:
    for field in ("max_tokens", "max_iterations", "temperature"):
        with pytest.raises(ValidationError, match="not true"):
            Node.model_validate({"id": "a", "agent": "x", "config": {field: True}})


def test_numbers_that_look_like_others_keep_their_meaning() -> None:
    """YAML 1.2: `010` is ten, `0o10` is eight, `1:30` is a text."""
    read = {
        written: validate(FILE.replace("max_tokens: 100", f"max_tokens: {written}"), agents=AGENTS)[0]
        for written in ("010", "0o10", "0x10")
    }
    assert {written: each and each.workflow.nodes[0].config.max_tokens for written, each in read.items()} == {
        "010": 10,
        "0o10": 8,
        "0x10": 16,
    }
    assert json.dumps(found(FILE.replace("max_tokens: 100", "max_tokens: 1:30"))) != "[]"
