"""Whatever is wrong with a file, validation ends with faults in words, never with an exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.workflow.definition import Condition
from schemas.workflow.templates import Template, TemplateFault
from streams.core.conditions import ConditionFailed, ConditionFault, compile_condition
from streams.workflows.validator import validate
from tests.unit.workflows.flows import AGENTS

WHOLE: dict[str, Any] = {
    "name": "whole",
    "version": "1.0.0",
    "llm_profiles": {"quick": "fast", "mine": {"primary": ["gpt-4"]}},
    "composio": {"apps": [{"name": "shopify", "entity_id_source": "customer_id", "actions": ["get_order"]}]},
    "workflow": {
        "nodes": [
            {
                "id": "a",
                "agent": "simple_intent_classifier",
                "config": {
                    "model_profile": "quick",
                    "output_schema": {"type": "object", "properties": {"x": {"type": "string"}}},
                    "context_sources": ["knowledge_base"],
                    "prompt_template": "{{ text }}",
                },
                "retry": {"max_attempts": 2},
                "on_error": {"output": 1},
            },
            {
                "id": "b",
                "agent": "reasoning_support_agent",
                "task": "{{ x }}",
                "config": {"tools": ["shopify.get_order"]},
                "join": "all",
            },
        ],
        "edges": [
            {"from": "a", "to": "b", "condition": {"type": "jmespath", "expression": "output.x"}},
            {"from": "b", "to": "END"},
        ],
    },
    "memory": {"long_term": {"type": "pgvector", "top_k": 3}},
    "cost_controls": {"daily_budget": 1.5},
    "entities": {"customer_id": "x"},
}
STRANGE: list[Any] = [None, 5, -1.5, "strange", "", True, [], {}, [None], [[1]], {"a": 1}, "{{ x", "a.*"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(path: tuple[Any, ...], strange: Any) -> str:
    value = copy.deepcopy(WHOLE)
    holder: Any = value
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = strange
    return json.dumps(value, indent=1)


def test_the_whole_of_it_is_fine() -> None:
    assert validate(json.dumps(WHOLE), agents=AGENTS)[1] == []


@pytest.mark.parametrize("path", list(places(WHOLE)), ids=lambda path: ".".join(map(str, path)))
def test_a_strange_value_anywhere_is_judged_in_words(path: tuple[Any, ...]) -> None:
    for strange in STRANGE:
        definition, faults = validate(changed(path, strange), agents=AGENTS)
        assert (definition is None) == any(fault.severity == "error" for fault in faults)
        assert all(fault.message and fault.remedy and fault.line >= 1 for fault in faults)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(alphabet="ab: -[]{}&*!|>'\"#\n\t%@,?<=", max_size=60))
def test_any_text_is_judged(text: str) -> None:
    assert validate(text, agents=AGENTS)[0] is None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(alphabet="ab._ {}%()[]'\"|~+*-<>=!1if for in end", max_size=40))
def test_any_prompt_compiles_or_says_why_not(text: str) -> None:
    with suppress(TemplateFault):
        Template("{{" + text + "}}").render({"a": {"b": [1, "x"]}, "b": "text"})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.text(alphabet="ab._ {}()[]'\"`|&@*+-<>=!?:1,and or not if else for in", max_size=40),
    st.sampled_from(["jmespath", "python_expr"]),
)
def test_any_condition_compiles_or_says_why_not(text: str, type_: str) -> None:
    with suppress(ConditionFault, ConditionFailed):
        compile_condition(Condition.model_validate({"type": type_, "expression": text})).holds(
            {"a": {"b": [1, "x"]}, "b": "text"}
        )
