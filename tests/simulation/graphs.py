"""Random workflows: up to thirty nodes with branches, joins, conditions, failures and retries; what each means is determined.

Conditions and prompts look only at nodes that have ended before, on every way through the graph, so that the order in which
parallel branches end decides nothing.
"""

from __future__ import annotations

from random import Random
from typing import Any

ROUTES = ("a", "b", "c")


def workflow(random: Random, name: str, *, timed: bool, keep: frozenset[int] | None = None) -> dict[str, Any]:
    """A definition. `keep`: only these nodes of it, for shrinking. `timed`: with timeouts, whose outcome depends on time."""
    size = _size(random)
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    ancestors: list[set[int]] = []
    for number in range(size):
        parents = _parents(random, number)
        mine = set(parents).union(*(ancestors[parent] for parent in parents))
        ancestors.append(mine)
        node, into = _node(random, number, sorted(parents), sorted(mine), timed=timed)
        wanted = keep is None or number in keep
        if wanted and not (keep is not None and _looks_at_dropped(node, keep, size)):
            nodes.append(node)
        elif wanted:
            node.pop("condition", None)
            nodes.append({**node, "prompt_template": "go"})
        edges += [edge for edge in into if keep is None or (number in keep and int(edge["from"][1:]) in keep)]
    for number in range(size):
        speaks = not any(edge["from"] == f"n{number}" for edge in edges) or random.random() < 0.1
        if speaks and random.random() < 0.8 and (keep is None or number in keep):
            edges.append({"from": f"n{number}", "to": "END", **_condition(random, 0.15)})
    definition: dict[str, Any] = {"name": name, "version": "1.0.0", "workflow": {"nodes": nodes, "edges": edges}}
    if timed and random.random() < 0.3:
        definition["timeout_seconds"] = round(random.uniform(0.5, 20), 1)
    return definition


def _size(random: Random) -> int:
    chance = random.random()
    if chance < 0.62:
        return random.randint(1, 4)
    return random.randint(5, 9) if chance < 0.93 else random.randint(10, 30)


def _parents(random: Random, number: int) -> list[int]:
    if number == 0 or random.random() < 0.12:
        return []
    return random.sample(range(max(0, number - 6), number), k=min(number, random.choice((1, 1, 1, 2, 2, 3))))


def _node(
    random: Random, number: int, parents: list[int], ancestors: list[int], *, timed: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    node: dict[str, Any] = {"id": f"n{number}", "agent": "thinker" if random.random() < 0.15 else "writer"}
    seen = random.choice(ancestors) if ancestors and random.random() < 0.7 else None
    node["prompt_template"] = "go" if seen is None else f"go {{{{ n{seen}.output.v }}}}"
    if random.random() < 0.15:
        if ancestors and random.random() < 0.6:
            node["condition"] = {"type": "jmespath", "expression": f"n{random.choice(ancestors)}.output.v > `40`"}
        else:
            node["condition"] = {"type": "python_expr", "expression": f"context['die'] > {random.randint(0, 5)}"}
    if len(parents) > 1 and random.random() < 0.25:
        node["join"] = "all"
    if random.random() < 0.12:
        node["on_error"] = random.choice(("continue", {"output": {"v": 1, "response": "substitute"}}))
    if random.random() < 0.5:
        node["retry"] = {
            "max_attempts": random.randint(1, 4),
            "initial_delay_seconds": random.choice((0, 0.05, 0.5)),
            "max_delay_seconds": 1,
        }
    if timed and random.random() < 0.3:
        node["timeout_seconds"] = random.choice((0.05, 0.4, 3))
    edges = []
    for parent in parents:
        edge: dict[str, Any] = {"from": f"n{parent}", "to": f"n{number}"}
        if random.random() < 0.12:
            edge["on"] = "failure"
        else:
            edge |= _condition(random, 0.35)
        edges.append(edge)
    return node, edges


def _condition(random: Random, share: float) -> dict[str, Any]:
    chance = random.random()
    if chance >= share:
        return {}
    route = random.choice(ROUTES)
    if chance < share * 0.6:
        return {"condition": {"type": "jmespath", "expression": f"output.route != '{route}'"}}
    if chance < share * 0.9:
        return {"condition": {"type": "python_expr", "expression": f"output['route'] == '{route}'"}}
    return {"condition": {"type": "python_expr", "expression": "output['no such key'] == 1"}}  # fails the node


def _looks_at_dropped(node: dict[str, Any], keep: frozenset[int], size: int) -> bool:
    text = f"{node['prompt_template']} {node.get('condition', '')}"
    return any(f"n{number}." in text for number in range(size) if number not in keep)
