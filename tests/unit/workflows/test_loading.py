"""Reading workflow files: YAML 1.2 with lines, and every fault of form at once."""

# ruff: noqa: E501  a table reads best with a case on one line

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.workflow.document import MAX_BYTES, read_document
from schemas.workflow.faults import InvalidWorkflow
from schemas.workflow.loading import draft, load

HEAD = "name: x\nversion: 1.0.0\nworkflow:\n  nodes:\n"


def node(*lines: str) -> str:
    """A workflow of one node `a` with further lines."""
    return HEAD + "    - id: a\n      agent: one\n" + "".join(f"      {line}\n" for line in lines)


def messages(text: str) -> list[str]:
    try:
        return [str(fault) for fault in draft(text, file="f.yaml").faults]
    except InvalidWorkflow as invalid:
        return [str(fault) for fault in invalid.faults]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("on", "on"), ("no", "no"), ("Yes", "Yes"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"), ("007", 7),
        ("0o17", 15), ("0x1F", 31), ("-1.5e3", -1500.0), ("true", True), ("FALSE", False), ("~", None), ("", None), ("'true'", "true"),
        ("!!str 5", "5"), ("=", "="), ("ünïcode 🙂", "ünïcode 🙂"), ("{a: [1, b]}", {"a": [1, "b"]}),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(written: str, read: Any) -> None:
    assert read_document(f"a: {written}\n")[0] == {"a": read}


def test_the_edge_key_on_stays_a_word() -> None:
    text = (
        HEAD + "    - {id: a, agent: one}\n    - {id: b, agent: one}\n  edges:\n    - from: a\n      to: b\n      on: failure\n"
    )
    assert load(text)[0].workflow.edges[0].on == "failure"


def test_aliases_and_merges_are_followed() -> None:
    text = (
        HEAD
        + "    - {id: a, agent: one, config: &quick {model_profile: fast}}\n    - {id: b, agent: one, config: {<<: *quick, temperature: 0}}\n"
    )
    config = load(text)[0].workflow.nodes[1].config
    assert (config.model_profile, config.temperature) == ("fast", 0)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        ("- a\n", 1, "a list"),
        ("just words", 1, "a single value"),
        ("a: 1\n---\nb: 2\n", 2, "no YAML"),
        ("a:\n\tb: 1\n", 2, "no YAML"),
        ("a: b: c\n", 1, "no YAML"),
        ("a: [1, 2\n", 2, "no YAML"),
        ("a: *nobody\n", 1, "no YAML"),
        ("a: 'open\n", 2, "no YAML"),
        ("a: \x07\n", 1, "no YAML"),
        ("a: &a [*a]\n", 1, "back into itself"),
        ("[" * 3000, 1, "deeper"),
        ("a: " + "{b: " * 200 + "1" + "}" * 200, 1, "deeper"),
        ("a: &a {<<: *a}\n", 1, "back into itself"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_is_one_clear_fault(text: str, line: int, told: str) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        read_document(text)
    (fault,) = caught.value.faults
    assert fault.line == line
    assert told in fault.message
    assert fault.remedy


def test_an_alias_bomb_ends_at_its_bound() -> None:
    """A billion laughs: ten lines that would be a billion values."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    with pytest.raises(InvalidWorkflow, match="aliases"):
        read_document(bomb)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a: \xff\n", "UTF-8"), (b"x: 1\n" * (MAX_BYTES // 5 + 1), "larger"), (b"\xff\xfea\x00", "UTF-8")],
)
def test_files_that_are_no_text_are_refused(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidWorkflow, match=told):
        load(file)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkflow, match="cannot be read"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidWorkflow, match="cannot be read"):
        load(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + node("task: |", "  one", "  two").replace("\n", "\r\n").encode())
    assert load(file)[0].workflow.nodes[0].task == "one\ntwo\n"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (node("promt: x"), 7, "did you mean `prompt_template`?"),
        (node("temperature: 1"), 7, "move it below `config:`"),
        (node("agnt: x"), 7, "did you mean `agent`?"),
        (node("config: {temperatur: 1}"), 7, "did you mean `temperature`?"),
        (node("config: {model_profil: fast}"), 7, "did you mean `model_profile`?"),
        (node("join: al"), 7, "did you mean `all`?"),
        (node("config: {max_iterations: 0}"), 7, "at least 1"),
        (node("config: {context_sources: [conversation_histry]}"), 7, "did you mean `conversation_history`?"),
        (node("config: [a]"), 7, "a list, not a mapping"),
        (node("condition: {type: python, expression: a}"), 7, "did you mean `python_expr`?"),
        (node("agent: two"), 7, "given twice (first in line 6)"),
        (HEAD + "    - agent: one\n", 5, "`id` is missing"),
        (HEAD + "    - {id: a}\n", 5, "`agent` is missing"),
        (HEAD + "    - words\n", 5, "item 1"),
        ("name: x\nversion: 1.0\nworkflow: {nodes: [{id: a, agent: b}]}\n", 2, 'e.g. "1.0.0"'),
        ("name: x\nversion: v2\nworkflow: {nodes: [{id: a, agent: b}]}\n", 2, 'e.g. "1.0.0"'),
        ("name: two@words\nversion: 1.0.0\nworkflow: {nodes: [{id: a, agent: b}]}\n", 1, "letters"),
        ("name: x\nversion: 1.0.0\n", 1, "`workflow` is missing"),
        (node() + "memory: {long_term: {type: pinecone}}\n", 7, "pgvector is used"),
        (node() + "cost_controls: {alert_threshold: 2}\n", 7, "at most 1"),
        (node("a: !!python/object/apply:os.system [ls]"), 7, "tag"),
        (node("config: {temperature: .nan}"), 7, "JSON number"),
    ],
)
def test_faults_name_line_and_remedy(text: str, line: int, told: str) -> None:
    found = messages(text)
    assert any(each.startswith(f"f.yaml:{line}: ") and told in each for each in found), found


def test_every_fault_is_reported_at_once() -> None:
    text = """name: x
version: 1
descripton: y
workflow:
  nodes:
    - {id: a, agent: one, config: {temperature: 9, tolls: []}}
    - {agent: one}
    - {id: c, agent: one, join: some}
  edges:
    - {from: a, to: c, on: sucess}
    - {from: a}
cost_controls: {daily_budget: -5}
"""
    lines = [int(each.split(":")[1]) for each in messages(text)]
    assert lines == [2, 3, 6, 6, 7, 8, 10, 11, 12]


def test_what_is_left_of_a_broken_file_is_good_for_further_checks() -> None:
    text = HEAD + "    - {agent: one}\n    - {id: b, agnt: one}\n  edges:\n    - {from: b}\n    - {from: b, to: END}\n"
    drafted = draft(text)
    assert [each.id for each in drafted.definition.workflow.nodes] == ["b"]
    assert (drafted.nodes, drafted.edges) == ((1,), (1,))


@pytest.mark.parametrize(
    ("written", "type_", "expression"),
    [
        ("output.intent == 'refund'", "jmespath", "output.intent == 'refund'"),
        ("output.items[?price > `10`]", "jmespath", "output.items[?price > `10`]"),
        ("output.confidence > 0.8", "python_expr", "output.confidence > 0.8"),
        ('output.intent == "refund"', "python_expr", 'output.intent == "refund"'),
        ("output.vip == true", "python_expr", "output.vip == true"),
        ("len(output) > 1", "python_expr", "len(output) > 1"),
        ("output.vip", "jmespath", "output.vip"),
        ("always", "always", "always"),
        ({"expression": "output.n >= 3"}, "python_expr", "output.n >= 3"),
        ({"type": "jmespath", "expression": "a"}, "jmespath", "a"),
        (True, "python_expr", "true"),
        ({"type": "jmespath", "expression": False}, "jmespath", "`false`"),
    ],
)
def test_a_condition_without_a_type_means_what_it_looks_like(written: Any, type_: str, expression: str) -> None:
    from schemas.workflow.definition import Condition

    condition = Condition.model_validate(written)
    assert (condition.type, condition.expression) == (type_, expression)


@pytest.mark.parametrize(
    "written", ["[shopify.get_order, 'gmail.*']", "shopify.get_order, gmail.*", "['shopify.get_order, gmail.*']"]
)
@pytest.mark.parametrize("key", ["tools", "allowed_tools"])
def test_tools_are_a_list_or_a_comma_list(key: str, written: str) -> None:
    definition, _ = load(node(f"config: {{{key}: {written}}}" if written[0] == "[" else f"config: {{{key}: '{written}'}}"))
    assert definition.workflow.nodes[0].config.tool_specs == ["shopify.get_order", "gmail.*"]


def test_actions_have_their_app_as_prefix_or_not() -> None:
    definition, _ = load(
        node() + "composio: {apps: [{name: shopify, actions: [get_order, shopify.get_tracking_info]}, {name: gmail}]}\n"
    )
    assert [app.tools for app in definition.composio.apps] == [["shopify.get_order", "shopify.get_tracking_info"], ["gmail.*"]]


@pytest.mark.parametrize("key", ["prompt_template", "task", "goal"])
def test_prompts_stand_beside_config_or_in_it(key: str) -> None:
    beside, _ = load(node(f"{key}: hello"))
    inside, _ = load(node("config:", f"  {key}: hello"))
    assert beside.workflow.nodes[0].instruction == inside.workflow.nodes[0].instruction == "hello"


def test_keys_without_a_value_count_as_not_given() -> None:
    definition, _ = load(node("config:", "condition:", "system_prompt:") + "memory:\ncomposio:\n  apps:\n")
    assert definition.memory.short_term.window_size == 50


def test_ids_may_look_like_numbers() -> None:
    text = HEAD + "    - {id: 1, agent: one}\n  edges:\n    - {from: 1, to: END}\n"
    assert load(text)[0].workflow.nodes[0].id == "1"


def test_positions_know_the_line_of_a_prompt_s_line() -> None:
    _, positions = load(node("config:", "  prompt_template: |", "    one", "    two"))
    assert positions.line(("workflow", "nodes", 0, "prompt_template")) == 8
    assert positions.text_line(("workflow", "nodes", 0, "prompt_template"), 2) == 10


def test_a_definition_survives_being_published() -> None:
    """What is published is read again by every processor."""
    definition, _ = load(node("condition: output.n > 3", "config: {prompt_template: hi, tools: 'a.b, a.c'}"))
    again = type(definition).model_validate(definition.model_dump(mode="json", by_alias=True, exclude_unset=True))
    assert again == definition
