"""The validator: each fault with its line and remedy, all of them at once, and no fault where there is none."""

# ruff: noqa: E501  a table reads best with a case on one line

from __future__ import annotations

import pytest

from schemas.workflow.faults import Fault
from streams.workflows.validator import validate
from tests.unit.workflows.flows import AGENTS, flow

TOOLS = {"shopify.get_order", "shopify.get_tracking_info", "slack.send_message"}


def faults(text: str) -> list[Fault]:
    return validate(text, agents=AGENTS, tools=TOOLS, profiles={"fast", "balanced"}, file="w.yaml")[1]


def codes(text: str) -> list[str]:
    return [fault.code for fault in faults(text)]


SCHEMA = {
    "type": "object",
    "properties": {"intent": {"type": "string"}, "entities": {"type": "object", "properties": {"order_id": {"type": "string"}}}},
}
CLASSIFIED = {"config": {"output_schema": SCHEMA}}
SHOP = '"version": "1.0.0", "composio": {"apps": [{"name": "shopify", "actions": ["get_order"]}]}'


def with_shop(text: str) -> str:
    return text.replace('"version": "1.0.0"', SHOP)


def prompt(source: str, **more: object) -> dict[str, object]:
    return {"prompt_template": source, **more}


# what, text, code, part of the message, part of the remedy
FAULTS = [
    ("duplicate id", flow("a>b").replace('"id": "b"', '"id": "a"'), "duplicate-id", "used twice (first in line", "its own"),
    ("reserved id", flow("a>output"), "reserved-id", "`output` is a word", "output_node"),
    ("reserved id END", flow("a>b").replace('"id": "b"', '"id": "END"'), "reserved-id", "`END`", "end_node"),
    ("unknown target", flow("alpha>beta").replace('"to": "beta"', '"to": "bata"'), "unknown-target", "leads to `bata`", "did you mean `beta`?"),
    ("unknown target that looks like END", flow("a>END").replace('"END"', '"End"'), "unknown-target", "`End`", "`END`"),
    ("unknown source", flow("alpha>beta").replace('"from": "alpha"', '"from": "alfa"'), "unknown-source", "starts at `alfa`", "`alpha`"),
    ("edge out of END", flow("a>END END>a").replace('"id": "END"', '"id": "x"'), "edge-from-end", "out of END", "start at a node"),
    ("edge to itself", flow("a>a"), "cycle", "`a` has an edge to itself", "`retry:`"),
    ("cycle", flow("a>b b>c c>b"), "cycle", "`b` → `c` → `b`", "remove an edge"),
    ("only reachable through a cycle", flow("a>b b>a b>c c>END"), "unreachable", "`c` is unreachable", "lead an edge"),
    ("no edge at all", flow("a>b", only="lost"), "no-edge", "the node `lost`", "from: lost, to: END"),
    ("no nodes", '{"name": "x", "version": "1.0.0", "workflow": {"nodes": []}}', "no-nodes", "no nodes", "at least one"),
    ("edge twice", flow("a>b a>b"), "duplicate-edge", "twice", "remove one"),
    ("impossible join", flow("a>b a!b", nodes={"b": {"join": "all"}}), "impossible-join", "both succeed and fail", "join: any"),
    ("unknown agent", flow("a>END", nodes={"a": {"agent": "simple_intent_clasifier"}}), "unknown-agent", "not registered", "did you mean `simple_intent_classifier`?"),
    ("wrong kind of instruction", flow("a>END", nodes={"a": {"agent": "reasoning_support_agent"}}), "instruction", "reasoning agent", "`task:`"),
    ("no instruction", flow("a>END", nodes={"a": {"prompt_template": None}}), "instruction", "nothing tells `a`", "prompt_template"),
    ("two instructions", flow("a>END", nodes={"a": {"task": "x"}}), "instruction", "only `prompt_template` is used", "keep one"),
    ("unknown tool", with_shop(flow("a>END", nodes={"a": {"agent": "reasoning_support_agent", "config": {"tools": ["shopify.get_ordr"]}}})), "unknown-tool", "knows no `shopify.get_ordr`", "did you mean `shopify.get_order`"),
    ("undeclared tool", with_shop(flow("a>END", nodes={"a": {"agent": "reasoning_support_agent", "config": {"tools": ["shopify.get_tracking_info"]}}})), "undeclared-tool", "not declared", "actions of `shopify`"),
    ("undeclared app", flow("a>END", nodes={"a": {"agent": "reasoning_support_agent", "config": {"tools": ["slack.*"]}}}), "undeclared-tool", "does not declare", "- name: slack"),
    ("malformed tool", with_shop(flow("a>END", nodes={"a": {"agent": "reasoning_support_agent", "config": {"tools": ["SHOPIFY_GET_ORDER"]}}})), "malformed-tool", "names no tool", "`shopify.get_order`"),
    ("unknown action of an app", with_shop(flow("a>END")).replace("get_order", "got_order"), "unknown-tool", "shopify.got_order", "`shopify.get_order`"),
    ("tools of a simple agent", with_shop(flow("a>END", nodes={"a": {"config": {"tools": ["shopify.get_order"]}}})), "tools-unused", "calls no tools", "reasoning"),
    ("unknown profile", flow("a>END", nodes={"a": {"config": {"model_profile": "fats"}}}), "profile", "no model can serve", "did you mean `fast`? There are `balanced`, `fast`"),
    ("label of an unknown profile", flow("a>END").replace('"version"', '"llm_profiles": {"quick": "superb"}, "version"'), "profile", "`superb`", "`fast`"),
    ("profile without models", flow("a>END").replace('"version"', '"llm_profiles": {"mine": {"primary": []}}, "version"'), "profile", "without any model", "primary"),
    ("output_schema", flow("a>END", nodes={"a": {"config": {"output_schema": {"type": "objekt"}}}}), "output-schema", "no JSON Schema", "2020-12"),
    ("output_schema that reaches out", flow("a>END", nodes={"a": {"config": {"output_schema": {"$ref": "http://example.com/x"}}}}), "output-schema", "elsewhere", "$defs"),
    ("output_schema with a bad pattern", flow("a>END", nodes={"a": {"config": {"output_schema": {"pattern": "("}}}}), "output-schema", "not a 'regex'", "2020-12"),
    ("template", flow("a>END", nodes={"a": prompt("{% if %}")}), "template", "does not compile", "Jinja2"),
    ("template that escapes", flow("a>END", nodes={"a": prompt("{{ ''.__class__ }}")}), "template", "out of reach", "Jinja2"),
    ("system prompt", flow("a>END", nodes={"a": {"system_prompt": "{{ x"}}), "template", "system_prompt of `a`", "Jinja2"),
    ("template names an unknown node", flow("classify>b", nodes={"b": prompt("{{ clasify.output }}")}), "unknown-node", "`clasify`", "did you mean `classify`?"),
    ("template nearly names a node", flow("classify>b", nodes={"b": prompt("{% if clasify %}{% endif %}")}), "unknown-name", "`clasify`", "`classify`"),
    ("template names a node that is not before it", flow("a>b a>c", nodes={"b": prompt("{{ c.output }}")}), "not-upstream", "not before it", "from `c`"),
    ("template forgets .output", flow("a>b", nodes={"b": prompt("{{ a.intent }}")}), "unknown-field", "`.output` only", "`a.output.intent`"),
    ("template names a field the schema lacks", flow("a>b", nodes={"a": CLASSIFIED, "b": prompt("{{ a.output.intnt }}")}), "unknown-field", "a.output.intnt", "did you mean `intent`?"),
    ("… two levels down", flow("a>b", nodes={"a": CLASSIFIED, "b": prompt("{{ a.output.entities.order }}")}), "unknown-field", "a.output.entities.order", "`order_id`"),
    ("condition of an edge", flow("a>b", when={"a>b": {"type": "jmespath", "expression": "a =="}}), "condition", "edge from `a` to `b`", ""),
    ("condition of a node", flow("a>b", when={"b": "py:lambda: 1"}), "condition", "condition of `b`", "comprehension"),
    ("condition without expression", flow("a>b", when={"b": {"type": "jmespath"}}), "condition", "no expression", "always"),
    ("condition names an unknown node", flow("first>b", when={"b": "frist.output.x"}), "unknown-node", "`frist`", "`first`"),
    ("condition names a field the schema lacks", flow("a>b", nodes={"a": CLASSIFIED}, when={"a>b": "output.intnt == 'x'"}), "unknown-field", "output.intnt", "`intent`"),
    ("condition of a node names output", flow("a>b", when={"b": "output.x"}), "no-output", "only the condition of an edge", "<id>.output"),
    ("condition names a node that is not before it", flow("a>b a>c", when={"a>b": "c.output.x"}), "not-upstream", "`c`", "from `c`"),
    ("a text in double quotes in JMESPath", flow("a>b", when={"a>b": {"type": "jmespath", "expression": 'output.intent == "refund"'}}), "quoted-name", '`"refund"`', "write `'refund'`"),
    ("a text in double quotes before its field", flow("a>b", when={"a>b": {"type": "jmespath", "expression": 'a || "x y" != output.intent'}}), "quoted-name", '`"x y"`', "`'x y'`"),
    ("a hyphen in a template", flow("my-node>b", nodes={"b": prompt("{{ my-node.output.intent }}")}), "hyphen", "`my-node` is read as a subtraction", '`"my-node".output`'),
    ("a hyphen in a condition", flow("my-node>b", when={"my-node>b": "my-node.output.intent == 'x'"}), "hyphen", "`my-node`", "an id without `-`"),
    ("a bare true in JMESPath", flow("a>b", when={"a>b": {"type": "jmespath", "expression": "output.x == true"}}), "bare-word", "backticks", "`true`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "told", "remedy"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_fault(text: str, code: str, told: str, remedy: str) -> None:
    found = [fault for fault in faults(text) if fault.code == code]
    assert found, [str(fault) for fault in faults(text)]
    assert told in found[0].message
    assert remedy in found[0].remedy
    assert found[0].line > 1 or code == "no-nodes"


FINE = [
    flow("a>END"), flow("a>b a>c b>d c>d d>END"), flow("a>c b>c"), flow("", only="a b"), flow("", only="a"),
    flow("a>b", nodes={"b": prompt("{{ entities.order_id }} {{ text }} {{ anything }} {{ conversation_history }} {{ input.x }}")}),
    flow("a>b", nodes={"a": CLASSIFIED, "b": prompt("{{ intent }} {% if a %}{{ a.output.entities.order_id }}{% endif %}")}),
    flow("a>b", when={"a>b": "py:output.x == 1 and vip and context.get('y')"}), flow("a>b a!b", when={"a!b": "output.error"}),
    with_shop(flow("a>END", nodes={"a": {"agent": "reasoning_support_agent", "prompt_template": None, "task": "x", "config": {"tools": "shopify.get_order"}}})),
    flow("a>END", nodes={"a": {"config": {"model_profile": "quick"}}}).replace('"version"', '"llm_profiles": {"quick": "fast"}, "version"'),
    flow("a>END").replace('"version"', '"llm_profiles": {"fast": {"primary": ["gpt-4"]}, "mine": {"profile": "fast"}}, "version"'),
    flow("a>b", nodes={"a": {"config": {"output_schema": {**SCHEMA, "additionalProperties": True}}}, "b": prompt("{{ a.output.more }}")}),
]  # fmt: skip


@pytest.mark.parametrize("text", FINE)
def test_nothing_is_said_of_what_is_fine(text: str) -> None:
    definition, found = validate(text, agents=AGENTS, tools=TOOLS, profiles={"fast", "balanced"})
    assert [str(fault) for fault in found] == []
    assert definition is not None


def test_faults_of_form_graph_and_prompts_come_together_in_the_file_s_order() -> None:
    text = """name: x
version: 1.0.0
descripton: typo
workflow:
  nodes:
    - id: a
      agent: nobody
      prompt_template: |
        one
        {{ ghost.output }}
    - id: a
      agent: simple_intent_classifier
      prompt_template: "{% if %}"
      condition: {type: python_expr, expression: "open('x')"}
  edges:
    - {from: a, to: b}
    - {from: a, to: a}
"""
    found = faults(text)
    assert [(fault.line, fault.code) for fault in found if fault.severity == "error"] == [
        (3, "unknown-key"),
        (7, "unknown-agent"),
        (10, "unknown-node"),
        (11, "duplicate-id"),
        (13, "template"),
        (14, "condition"),
        (16, "unknown-target"),
        (17, "cycle"),
    ]
    assert str(found[0]) == "w.yaml:3: unknown key `descripton`. → did you mean `description`?"


def test_a_warning_leaves_the_workflow_usable() -> None:
    definition, found = validate(flow("a>b a>c", nodes={"b": prompt("{{ c.output }}")}), agents=AGENTS)
    assert [fault.severity for fault in found] == ["warning"]
    assert definition is not None


def test_every_cycle_is_reported() -> None:
    found = [fault.message for fault in faults(flow("a>b b>a c>d d>e e>c s>a s>c f>f e>g")) if fault.code == "cycle"]
    assert found == [
        "the edges form a cycle: `a` → `b` → `a`",
        "the edges form a cycle: `c` → `d` → `e` → `c`",
        "`f` has an edge to itself",
    ]


def test_tools_are_not_judged_when_nobody_knows_them() -> None:
    text = with_shop(
        flow(
            "a>END",
            nodes={
                "a": {
                    "agent": "reasoning_support_agent",
                    "prompt_template": None,
                    "task": "x",
                    "config": {"tools": ["shopify.get_order"]},
                }
            },
        )
    )
    assert validate(text.replace("get_order", "anything"), agents=AGENTS, tools=None)[1] == []


def test_a_large_workflow_is_judged_in_reasonable_time() -> None:
    """A chain of 1,500 nodes: nothing here may be cubic, or recursive in the number of nodes."""
    text = flow(" ".join(f"n{i}>n{i + 1}" for i in range(1500)))
    assert faults(text) == []
