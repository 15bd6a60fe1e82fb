"""What the simulation reports, for control-flow patterns as far as they need no cycle (WCP: van der Aalst et al., 2003)."""

# ruff: noqa: E501  a table reads best with a case on one line

from __future__ import annotations

import random
from typing import Any

import pytest

from streams.workflows.simulate import UnusableOutputs, simulate_file
from tests.unit.workflows.flows import AGENTS, flow, outputs

BOOM = RuntimeError("boom")


def run(text: str, given: dict[str, Any] | None = None, **does: Any) -> dict[str, Any]:
    return simulate_file(text, agents=AGENTS, input=given or {"text": "hello"}, outputs=outputs(**does))


def sets(result: dict[str, Any]) -> tuple[str, str, str, str]:
    return (result["status"], *(" ".join(result[key]) for key in ("executed", "skipped", "failed")))


YES, NO = {"go": True}, {"go": False}
GO = "output.go"
CHOICE = {"a>b": "output.x == 'b'", "a>c": "output.x == 'c'", "a>d": "output.x == 'd'"}
DIAMOND = "a>b a>c b>d c>d d>END"

# name, text, outputs, (status, executed, skipped, failed)
PATTERNS: list[tuple[str, str, dict[str, Any], tuple[str, str, str, str]]] = [
    ("one node", flow("", only="a"), {}, ("completed", "a", "", "")),
    ("one node to END", flow("a>END"), {}, ("completed", "a", "", "")),
    ("two nodes without edges both start", flow("", only="a b"), {}, ("completed", "a b", "", "")),
    ("WCP1 sequence", flow("a>b b>c c>END"), {}, ("completed", "a b c", "", "")),
    ("WCP2/3 parallel split and synchronisation", flow(DIAMOND), {}, ("completed", "a b c d", "", "")),
    ("WCP2/3 with join all", flow(DIAMOND, nodes={"d": {"join": "all"}}), {}, ("completed", "a b c d", "", "")),
    ("WCP4/5 exclusive choice, simple merge", flow("a>b a>c a>d b>e c>e d>e", when=CHOICE), {"a": {"x": "c"}}, ("completed", "a c e", "b d", "")),
    ("WCP4 no branch chosen: everything after is skipped", flow("a>b a>c a>d b>e c>e d>e", when=CHOICE), {"a": {"x": "?"}}, ("completed", "a", "b c d e", "")),
    ("WCP6/7 multi-choice, structured synchronising merge", flow("a>b a>c a>d b>e c>e d>e", when={"a>b": "output.b", "a>c": "output.c", "a>d": "output.d"}), {"a": {"b": 1, "c": "", "d": [0]}}, ("completed", "a b d e", "c", "")),
    ("WCP7 all branches dead", flow("a>b a>c b>d c>d", when={"a>b": GO, "a>c": GO}), {"a": NO}, ("completed", "a", "b c d", "")),
    ("WCP33 generalised AND-join fails when one way is dead", flow("a>b a>c b>d c>d", when={"a>c": GO}, nodes={"d": {"join": "all"}}), {"a": NO}, ("failed", "a b", "c", "d")),
    ("a join that nothing reaches cannot fail", flow("a>b a>c b>d c>d", when={"a>b": GO, "a>c": GO}, nodes={"d": {"join": "all"}}), {"a": NO}, ("completed", "a", "b c d", "")),
    ("WCP37 acyclic synchronising merge over uneven depth", flow("a>b a>c b>x x>y y>d c>d", when={"a>b": GO}), {"a": NO}, ("completed", "a c d", "b x y", "")),
    ("WCP11 implicit termination: two ends", flow("a>b a>c b>END c>END"), {}, ("completed", "a b c", "", "")),
    ("a node without out-edges is an end", flow("a>b a>c b>END"), {}, ("completed", "a b c", "", "")),
    ("several starts, one join", flow("a>c b>c c>END"), {}, ("completed", "a b c", "", "")),
    ("several starts, join all", flow("a>c b>c", nodes={"c": {"join": "all"}}), {}, ("completed", "a b c", "", "")),
    ("several starts, one decides against the join", flow("a>c b>c", when={"a>c": GO}), {"a": NO}, ("completed", "a b c", "", "")),
    ("two separate graphs", flow("a>b c>d"), {}, ("completed", "a b c d", "", "")),
    ("nested choice, inner branch", flow("a>b a>c b>x b>y x>m y>m c>m", when={"a>b": "output.k == 'b'", "a>c": "output.k == 'c'", "b>x": "output.k == 'x'", "b>y": "output.k == 'y'"}), {"a": {"k": "b"}, "b": {"k": "y"}}, ("completed", "a b m y", "c x", "")),
    ("nested choice, outer branch kills the inner one", flow("a>b a>c b>x b>y x>m y>m c>m", when={"a>b": "output.k == 'b'", "a>c": "output.k == 'c'", "b>x": "output.k == 'x'", "b>y": "output.k == 'y'"}), {"a": {"k": "c"}}, ("completed", "a c m", "b x y", "")),
    ("dead path runs through a chain to the join", flow("a>b b>c c>d d>z a>z", when={"a>b": GO}), {"a": NO}, ("completed", "a z", "b c d", "")),
    ("a skipped node's edge to END decides nothing", flow("a>b b>END a>END", when={"a>b": GO}), {"a": NO}, ("completed", "a", "b", "")),
    ("skip edge around a node", flow("a>b a>c b>c", when={"a>b": GO}), {"a": NO}, ("completed", "a c", "b", "")),
    ("skip edge with join all fails", flow("a>b a>c b>c", when={"a>b": GO}, nodes={"c": {"join": "all"}}), {"a": NO}, ("failed", "a", "b", "c")),
    ("two edges between the same nodes: one taken is enough", flow("a>b a>b", when={"a>b": GO}), {"a": YES}, ("completed", "a b", "", "")),
    ("node condition false", flow("a>b b>c", when={"b": "a.output.go"}), {"a": NO}, ("completed", "a", "b c", "")),
    ("node condition true", flow("a>b b>c", when={"b": "a.output.go"}), {"a": YES}, ("completed", "a b c", "", "")),
    ("node condition of a start over the input", flow("a>b", when={"a": "text == 'other'"}), {}, ("completed", "", "a b", "")),
    ("node condition is not asked when no edge was taken", flow("a>b", when={"a>b": GO, "b": "py:1/0"}), {"a": NO}, ("completed", "a", "b", "")),
    ("node condition sees every finished node", flow("a>b b>c", when={"c": "a.output.n == `1` && b.output.n == `2`"}), {"a": {"n": 1}, "b": {"n": 2}}, ("completed", "a b c", "", "")),
    ("node condition on a skipped node: null in JMESPath", flow("a>b a>c b>d c>d", when={"a>b": GO, "d": "b.output.x"}), {"a": NO}, ("completed", "a c", "b d", "")),
    ("node condition on a skipped node: raises in Python", flow("a>b a>c b>d c>d", when={"a>b": GO, "d": "py:b.output.x"}), {"a": NO}, ("failed", "a c", "b", "d")),
    ("a node fails: what follows is skipped", flow("a>b b>c"), {"a": BOOM}, ("failed", "", "b c", "a")),
    ("a node fails in one of two branches: the join goes on", flow(DIAMOND), {"b": BOOM}, ("failed", "a c d", "", "b")),
    ("a node fails before join all", flow(DIAMOND, nodes={"d": {"join": "all"}}), {"b": BOOM}, ("failed", "a c", "", "b d")),
    ("failure edge taken", flow("a>b a!c"), {"a": BOOM}, ("completed", "c", "b", "a")),
    ("failure edge not taken on success", flow("a>b a!c"), {}, ("completed", "a b", "c", "")),
    ("failure edge, then a common node", flow("a>b b>d b!c c>d d>END"), {"b": BOOM}, ("completed", "a c d", "", "b")),
    ("failure edge with a false condition leaves the failure", flow("a>b a!c", when={"a!c": "context.spare"}), {"a": BOOM}, ("failed", "", "b c", "a")),
    ("failure edge sees the error", flow("a!c a!d", when={"a!c": "contains(output.error, 'boom')", "a!d": "contains(output.error, 'other')"}), {"a": BOOM}, ("completed", "c", "d", "a")),
    ("the failure handler fails too", flow("a>b a!c"), {"a": BOOM, "c": BOOM}, ("failed", "", "b", "a c")),
    ("on_error with an output: the node counts as executed", flow("a>b", when={"a>b": "output.safe"}, nodes={"a": {"on_error": {"output": {"safe": True}}}}), {"a": BOOM}, ("completed", "a b", "", "")),
    ("on_error continue: null goes on", flow("a>b", nodes={"a": {"on_error": "continue"}}), {"a": BOOM}, ("completed", "a b", "", "")),
    ("failed join all with a failure edge", flow("a>b a>c b>d c>d d!e", when={"a>c": GO}, nodes={"d": {"join": "all"}}), {"a": NO}, ("completed", "a b e", "c", "d")),
    ("an edge's condition raises: its source fails", flow("a>b a>c", when={"a>b": "py:output.nope == 1"}), {"a": {"x": 1}}, ("failed", "", "b c", "a")),
    ("an edge's condition raises and a failure edge takes it up", flow("a>b a!c", when={"a>b": "py:1 / 0"}), {}, ("completed", "c", "b", "a")),
    ("a node's condition raises", flow("a>b b>c", when={"b": "py:nobody.knows"}), {}, ("failed", "a", "c", "b")),
    ("a node's condition raises in JMESPath", flow("a>b", when={"b": "contains(a.output, 'x')"}), {"a": 5}, ("failed", "a", "", "b")),
    ("always", flow("a>b", when={"a>b": {"type": "always"}}), {}, ("completed", "a b", "", "")),
    ("0 is true in JMESPath", flow("a>b", when={"a>b": "output.n"}), {"a": {"n": 0}}, ("completed", "a b", "", "")),
    ("0 is false in Python", flow("a>b", when={"a>b": "py:output.n"}), {"a": {"n": 0}}, ("completed", "a", "b", "")),
    ("null output", flow("a>b", when={"a>b": GO}), {}, ("completed", "a", "b", "")),
    ("an output that is a text", flow("a>b", when={"a>b": "output == 'yes'"}), {"a": "yes"}, ("completed", "a b", "", "")),
    ("an output that is a list", flow("a>b", when={"a>b": "length(output) > `1`"}), {"a": [1, 2]}, ("completed", "a b", "", "")),
    ("ids with dashes and spaces", flow("", only="a").replace('"a"', '"first-node"'), {}, ("completed", "first-node", "", "")),
    ("WCP9 discriminator is a join any that waits for all to be decided", flow(DIAMOND), {"b": (None, 500)}, ("completed", "a b c d", "", "")),
    ("five ways into one node, one alive", flow("a>b a>c a>d a>e a>f b>z c>z d>z e>z f>z", when={f"a>{n}": f"output.x == '{n}'" for n in "bcdef"}), {"a": {"x": "e"}}, ("completed", "a e z", "b c d f", "")),
    ("interleaved diamonds", flow("a>b a>c b>d c>d b>e c>e d>f e>f", when={"b>d": GO, "c>e": GO}), {"b": NO, "c": NO}, ("completed", "a b c d e f", "", "")),
    ("interleaved diamonds, one corner dead", flow("a>b a>c b>d c>d b>e c>e d>f e>f", when={"b>d": GO, "c>d": GO}), {"b": NO, "c": NO}, ("completed", "a b c e f", "d", "")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "does", "expected"), [pattern[1:] for pattern in PATTERNS], ids=[pattern[0] for pattern in PATTERNS]
)
def test_pattern(text: str, does: dict[str, Any], expected: tuple[str, str, str, str]) -> None:
    assert sets(run(text, **does)) == expected


def test_order_is_that_of_completion() -> None:
    result = run(flow(DIAMOND), b=(None, 30), c=(None, 10))
    assert result["order"] == ["a", "c", "b", "d"]


def test_of_those_that_end_together_the_one_that_began_first_ends_first() -> None:
    assert run(flow("a>c b>d"), a=(None, 5), c=(None, 5), b=(None, 10), d=(None, 0))["order"] == ["a", "b", "c", "d"]


def test_an_edge_condition_sees_only_what_has_finished_by_then() -> None:
    text = flow("a>c b>d", when={"a>c": "b.output.go"})
    assert sets(run(text, a=(None, 1), b=(YES, 2))) == ("completed", "a b d", "c", "")
    assert sets(run(text, a=(None, 3), b=(YES, 2))) == ("completed", "a b c d", "", "")


def test_input_and_context_are_seen_by_name_and_whole() -> None:
    text = flow(
        "a>b a>c a>d a>e",
        when={"a>b": "amount > `5`", "a>c": "vip", "a>d": "input.amount == `7` && context.vip", "a>e": "py:input['amount'] < 5"},
    )
    result = run(text, {"amount": 7, "context": {"vip": True}})
    assert result["executed"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (flow("a>b b>c c>a"), "cycle"),
        (flow("a>a"), "cycle"),
        (flow("s>a a>b b>a b>END"), "cycle"),
        (flow("a>b") .replace('"id": "b"', '"id": "a"'), "duplicate-id"),
        (flow("a>b").replace('"to": "b"', '"to": "nowhere"'), "unknown-target"),
        (flow("a>b", when={"a>b": {"type": "jmespath", "expression": "output.("}}), "condition"),
        (flow("a>b", when={"a>b": {"type": "python_expr", "expression": "__import__('os')"}}), "condition"),
        ("", "unreadable"),
    ],
)  # fmt: skip
def test_an_invalid_workflow_is_not_run(text: str, code: str) -> None:
    result = run(text)
    assert result["status"] == "invalid"
    assert code in {fault["code"] for fault in result["faults"]}
    assert not result["executed"]


def test_an_agent_that_is_not_here_is_no_hindrance() -> None:
    """Nothing of the agent is needed to see which way a message goes."""
    assert run(flow("a>b", nodes={"a": {"agent": "somebody_elses"}}))["executed"] == ["a", "b"]


@pytest.mark.parametrize(
    "given",
    [{"nobody": {}}, {"a": {"outptu": 1}}, {"a": 5}, {"a": {"delay_ms": -1}}, {"a": {"delay_ms": "soon"}}, {"a": {"delay_ms": True}}, {"a": {"delay_ms": float("nan")}}],
)  # fmt: skip
def test_outputs_in_another_shape_are_refused_in_words(given: dict[str, Any]) -> None:
    with pytest.raises(UnusableOutputs, match="`"):
        simulate_file(flow("a>b"), agents=AGENTS, input={}, outputs=given)


def oracle(
    edges: list[tuple[int, int, bool]], count: int, join_all: set[int], failing: set[int]
) -> tuple[set[int], set[int], set[int]]:
    """The rules of the dialect, said once more as plainly as can be: nodes in topological order, sources before targets."""
    executed, skipped, failed = set(), set(), set()
    for node in range(count):
        into = [source in executed and open_ for source, target, open_ in edges if target == node]
        if into and not any(into):
            skipped.add(node)
        elif node in failing or (node in join_all and not all(into)):
            failed.add(node)
        else:
            executed.add(node)
    return executed, skipped, failed


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_agree_with_the_rules_said_plainly(seed: int) -> None:
    """Whatever the delays, the sets are those that the rules give."""
    chance = random.Random(seed)
    count = chance.randint(2, 12)
    edges = [(a, b, chance.random() < 0.6) for b in range(count) for a in range(b) if chance.random() < 0.35]
    join_all = {node for node in range(count) if chance.random() < 0.2}
    failing = {node for node in range(count) if chance.random() < 0.15}
    lonely = set(range(count)) - {end for edge in edges for end in edge[:2]}
    text = flow(
        " ".join([*(f"n{a}>n{b}" for a, b, _ in edges), *(f"n{node}>END" for node in sorted(lonely))]),
        when={f"n{a}>n{b}": "py:True" if open_ else "output.never" for a, b, open_ in edges},
        nodes={f"n{node}": {"join": "all"} for node in join_all},
    )
    does = {f"n{node}": (BOOM if node in failing else {}, chance.randint(0, 20)) for node in range(count)}
    result = run(text, **does)
    got = tuple({int(name[1:]) for name in result[key]} for key in ("executed", "skipped", "failed"))
    assert got == oracle(edges, count, join_all, failing)
    assert sorted(result["order"]) == sorted(result["executed"])
