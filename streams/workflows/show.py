"""The graph of a workflow for people: a tree in the terminal, or Mermaid for a page."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.workflow.definition import END, Condition, Edge, Node, WorkflowDefinition

LABEL = 60
"""Characters of a condition that are shown."""


def tree(definition: WorkflowDefinition) -> str:
    """Every node under the one that leads to it; a node that several lead to is drawn out where it comes first."""
    lines = [f"{definition.name} {definition.version}"]
    if definition.description:
        lines += [definition.description]
    targets = {edge.target for edge in definition.workflow.edges}
    drawn: set[str] = set()
    starts = [node for node in definition.workflow.nodes if node.id not in targets]
    for start in starts or definition.workflow.nodes[:1]:
        lines += ["", _node(start, definition)]
        drawn.add(start.id)
        lines += _below(start.id, definition, drawn)
    return "\n".join(lines)


def _below(start: str, definition: WorkflowDefinition, drawn: set[str]) -> Iterator[str]:
    nodes = {node.id: node for node in definition.workflow.nodes}
    out: dict[str, list[Edge]] = {}
    for edge in definition.workflow.edges:
        out.setdefault(edge.source, []).append(edge)
    open_ = [(edge, "", edge is out[start][-1]) for edge in reversed(out.get(start, []))]
    while open_:
        edge, margin, last = open_.pop()
        again = edge.target in drawn
        label = edge.target if edge.target not in nodes or again else _node(nodes[edge.target], definition)
        reason = f"[{_reason(edge)}] → " if _reason(edge) else ""
        yield f"{margin}{'└' if last else '├'}─ {reason}{label}{' ↑' if again else ''}"
        if edge.target in nodes and not again:
            drawn.add(edge.target)
            deeper = f"{margin}{' ' if last else '│'}  "
            below = out.get(edge.target, [])
            open_ += [(each, deeper, each is below[-1]) for each in reversed(below)]


def _node(node: Node, definition: WorkflowDefinition) -> str:
    facts = [node.agent]
    if node.config.model_profile:
        facts.append(node.config.model_profile)
    if node.config.tool_specs:
        facts.append(f"{len(node.config.tool_specs)} tools" if len(node.config.tool_specs) > 1 else node.config.tool_specs[0])
    if node.condition is not None and node.condition.type != "always":
        facts.append(f"if {_short(node.condition)}")
    if sum(edge.target == node.id for edge in definition.workflow.edges) > 1:
        facts.append(f"join: {node.join}")
    return f"{node.id} ({', '.join(facts)})"


def _reason(edge: Edge) -> str:
    parts = ["on failure"] if edge.on == "failure" else []
    if edge.condition is not None and edge.condition.type != "always":
        parts.append(_short(edge.condition))
    return ", ".join(parts)


def _short(condition: Condition) -> str:
    text = " ".join(condition.expression.split())
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def mermaid(definition: WorkflowDefinition) -> str:
    """A Mermaid flowchart: `join: all` nodes are hexagons, failure edges are dotted."""
    names = {node.id: f"n{index}" for index, node in enumerate(definition.workflow.nodes)} | {END: "end_"}
    lines = ["flowchart TD"]
    for node in definition.workflow.nodes:
        text = f'"{_escaped(node.id)}<br/><small>{_escaped(node.agent)}</small>"'
        lines.append(f"    {names[node.id]}{'{{' + text + '}}' if node.join == 'all' else '[' + text + ']'}")
    if any(edge.target == END for edge in definition.workflow.edges):
        lines.append(f'    {names[END]}(["{END}"])')
    for edge in definition.workflow.edges:
        arrow = "-.->" if edge.on == "failure" else "-->"
        label = f'|"{_escaped(_reason(edge))}"|' if _reason(edge) else ""
        lines.append(f"    {names.get(edge.source, edge.source)} {arrow}{label} {names.get(edge.target, edge.target)}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Mermaid's own entities for what would end or change a label."""
    special = {'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;", "`": "#96;"}
    return "".join(special.get(character, character) for character in text)
