"""Small workflows for tests: `flow("a>b b>END")` is a definition as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

AGENTS = {
    "simple_intent_classifier": "simple",
    "simple_response_generator": "simple",
    "reasoning_support_agent": "reasoning",
    "autonomous_return_agent": "code",
}


def flow(
    edges: str, *, when: Mapping[str, Any] | None = None, nodes: Mapping[str, Mapping[str, Any]] | None = None, only: str = ""
) -> str:
    """A workflow. `a>b` is an edge, `a!b` one `on: failure`; `when` has conditions by edge or node; `only` names more nodes."""
    when, nodes = when or {}, nodes or {}
    ids: dict[str, None] = dict.fromkeys(only.split())
    written = []
    for edge in edges.split():
        source, mark, target = edge.partition("!" if "!" in edge else ">")
        ids |= dict.fromkeys(name for name in (source, target) if name != "END")
        extra = {"on": "failure"} if mark == "!" else {}
        if edge in when:
            extra["condition"] = _condition(when[edge])
        written.append({"from": source, "to": target, **extra})
    listed = []
    for name in sorted(ids):
        condition = {"condition": _condition(when[name])} if name in when else {}
        listed.append(
            {"id": name, "agent": "simple_intent_classifier", "prompt_template": "Hi", **condition, **nodes.get(name, {})}
        )
    # JSON is YAML, and keeps these helpers free of quoting rules.
    return json.dumps({"name": "flow", "version": "1.0.0", "workflow": {"nodes": listed, "edges": written}}, indent=1)


def _condition(given: Any) -> Any:
    return {"type": "python_expr", "expression": given[3:]} if isinstance(given, str) and given.startswith("py:") else given


def outputs(**given: Any) -> dict[str, dict[str, Any]]:
    """Invented outputs: a value is the output, an exception's text the failure, `(value, ms)` takes its time."""
    made: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        does: dict[str, Any] = {}
        if isinstance(value, tuple):
            value, does["delay_ms"] = value
        does |= {"fail": str(value)} if isinstance(value, Exception) else {"output": value}
        made[name] = does
    return made
