"""Faults of the graph: ids, edges that lead nowhere, cycles, nodes that nothing reaches."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.workflow.definition import END
from schemas.workflow.faults import Fault, did_you_mean
from schemas.workflow.scope import RESERVED
from streams.workflows.subject import Subject


def structure_faults(subject: Subject) -> Iterator[Fault]:
    """Everything that is wrong with nodes and edges as a graph."""
    yield from _ids(subject)
    yield from _edges(subject)
    in_cycle: set[str] = set()
    for cycle in cycles(subject):
        in_cycle.update(cycle)
        yield _cycle_fault(subject, cycle)
    yield from _unreachable(subject, in_cycle)
    yield from _impossible_joins(subject)


def _ids(subject: Subject) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for path, node in subject.placed_nodes:
        here = (*path, "id")
        if node.id in RESERVED:
            remedy = f"call it something else, e.g. `{node.id.lower()}_node`"
            yield subject.error(here, f"`{node.id}` is a word of the dialect and cannot be a node's id", remedy, "reserved-id")
        if node.id in first:
            message = f"the node id `{node.id}` is used twice (first in line {first[node.id]})"
            yield subject.error(here, message, "give each node an id of its own", "duplicate-id")
        first.setdefault(node.id, subject.line(here))
    if not subject.placed_nodes and not subject.draft.faults:
        yield subject.error(("workflow", "nodes"), "the workflow has no nodes", "add at least one below `nodes:`", "no-nodes")


def _edges(subject: Subject) -> Iterator[Fault]:
    known = subject.ids
    seen: set[object] = set()
    for path, edge in subject.placed_edges:
        if edge.source == END:
            yield subject.error((*path, "from"), "an edge leads out of END", "let it start at a node", "edge-from-end")
        elif edge.source not in known:
            message = f"an edge starts at `{edge.source}`, which is no node"
            yield subject.error((*path, "from"), message, did_you_mean(edge.source, known), "unknown-source")
        if edge.target != END and edge.target not in known:
            message = f"an edge leads to `{edge.target}`, which is no node"
            yield subject.error((*path, "to"), message, did_you_mean(edge.target, [*known, END]), "unknown-target")
        key = (edge.source, edge.target, edge.on, edge.condition)
        if key in seen:
            message = f"the edge from `{edge.source}` to `{edge.target}` is there twice"
            yield subject.warning(path, message, "remove one of them", "duplicate-edge")
        seen.add(key)


def cycles(subject: Subject) -> list[list[str]]:
    """Cycles that share no node, each as its nodes in order. Empty exactly when the graph has none."""
    place = {name: index for index, name in enumerate(subject.ids)}
    left = set(place)
    found: list[list[str]] = []
    while left := _without_order(subject, left):
        # Each node left has a node left before it: going back from any of them must come round.
        path = [min(left, key=place.__getitem__)]
        while (step := next(name for name in subject.predecessors[path[-1]] if name in left)) not in path:
            path.append(step)
        cycle = path[path.index(step) :][::-1]
        first = cycle.index(min(cycle, key=place.__getitem__))
        found.append(cycle[first:] + cycle[:first])
        left -= set(cycle)
    return found


def _without_order(subject: Subject, names: set[str]) -> set[str]:
    """Those of `names` that no order of running can reach: Kahn's algorithm, what remains."""
    waiting = {name: sum(source in names for source in subject.predecessors[name]) for name in names}
    open_ = [name for name, count in waiting.items() if not count]
    while open_:
        name = open_.pop()
        del waiting[name]
        for target in subject.successors[name]:
            if target in waiting:
                waiting[target] -= 1
                if not waiting[target]:
                    open_.append(target)
    return set(waiting)


def _cycle_fault(subject: Subject, cycle: list[str]) -> Fault:
    last, first = cycle[-1], cycle[0]
    path = next(path for path, edge in subject.placed_edges if (edge.source, edge.target) == (last, first))
    way = " → ".join(f"`{name}`" for name in [*cycle, first])
    message = f"`{first}` has an edge to itself" if len(cycle) == 1 else f"the edges form a cycle: {way}"
    return subject.error(path, message, "remove an edge of it; to try a node again use its `retry:`", "cycle")


def _unreachable(subject: Subject, in_cycle: set[str]) -> Iterator[Fault]:
    starts = [name for name, sources in subject.predecessors.items() if not sources]
    reached = subject.after(starts)
    touched = {name for _, edge in subject.placed_edges for name in (edge.source, edge.target)}
    lost_edges = any(fault.path[:2] == ("workflow", "edges") for fault in subject.draft.faults)
    for path, node in subject.placed_nodes:
        if node.id not in reached and node.id not in in_cycle:
            message = f"the node `{node.id}` is unreachable: every way to it goes through a cycle"
            yield subject.error((*path, "id"), message, "lead an edge to it from a node that can run", "unreachable")
        elif subject.placed_edges and node.id not in touched and len(subject.ids) > 1 and not lost_edges:
            message = f"no edge leads to the node `{node.id}` or away from it: it runs at the start of every run"
            remedy = f"if you mean that, say so with `- {{from: {node.id}, to: {END}}}`; else lead an edge to it, or remove it"
            yield subject.warning((*path, "id"), message, remedy, "no-edge")


def _impossible_joins(subject: Subject) -> Iterator[Fault]:
    for path, node in subject.placed_nodes:
        ways = {(edge.source, edge.on) for _, edge in subject.placed_edges if edge.target == node.id}
        both = [source for source, on in ways if on == "failure" and (source, "success") in ways]
        if node.join == "all" and both:
            message = f"`{node.id}` waits for `join: all`, but `{both[0]}` cannot both succeed and fail"
            yield subject.warning((*path, "join"), message, "write `join: any`", "impossible-join")
