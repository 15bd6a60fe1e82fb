"""Drawing a workflow: the tree for the terminal and Mermaid."""

from __future__ import annotations

from schemas.workflow.loading import load
from streams.workflows.show import mermaid, tree
from tests.unit.workflows.flows import flow

TEXT = flow("a>b a>c a!d b>e c>e e>END", when={"a>b": "output.k == 'b'", "c": "py:vip"}, nodes={"e": {"join": "all"}})


def test_the_tree_draws_each_node_once_and_names_conditions() -> None:
    assert tree(load(TEXT)[0]) == "\n".join(
        [
            "flow 1.0.0",
            "",
            "a (simple_intent_classifier)",
            "├─ [output.k == 'b'] → b (simple_intent_classifier)",
            "│  └─ e (simple_intent_classifier, join: all)",
            "│     └─ END",
            "├─ c (simple_intent_classifier, if vip)",
            "│  └─ e ↑",
            "└─ [on failure] → d (simple_intent_classifier)",
        ]
    )


def test_mermaid_quotes_what_it_would_read_as_its_own() -> None:
    drawn = mermaid(load(TEXT)[0]).splitlines()
    assert drawn[0] == "flowchart TD"
    assert "    n0 -->|\"output.k == 'b'\"| n1" in drawn
    assert '    n0 -.->|"on failure"| n3' in drawn
    assert any(line.startswith('    n4{{"e<br/>') for line in drawn)
    quoted = mermaid(load(flow("a>b", when={"a>b": 'contains(output, `"x"`)'}))[0])
    assert "#quot;x#quot;" in quoted


def test_a_long_chain_is_drawn() -> None:
    """The tree may not be recursive in the number of nodes."""
    assert len(tree(load(flow(" ".join(f"n{i}>n{i + 1}" for i in range(1200))))[0]).splitlines()) == 1203


def test_a_broken_graph_is_drawn_too() -> None:
    assert "b (" in tree(load(flow("a>b b>a"))[0])
