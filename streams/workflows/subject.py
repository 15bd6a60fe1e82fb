"""A drafted workflow as the checks look at it: nodes by id, who comes before whom, where everything stands in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from schemas.workflow.definition import END, Edge, Node
from schemas.workflow.faults import Fault, KeyPath
from schemas.workflow.loading import Draft


@dataclass(frozen=True)
class Subject:
    """Answers for one draft. Of nodes with the same id the first counts."""

    draft: Draft

    @cached_property
    def placed_nodes(self) -> list[tuple[KeyPath, Node]]:
        """Each node with its place in the file."""
        nodes = self.draft.definition.workflow.nodes
        return [(("workflow", "nodes", index), node) for index, node in zip(self.draft.nodes, nodes, strict=True)]

    @cached_property
    def placed_edges(self) -> list[tuple[KeyPath, Edge]]:
        edges = self.draft.definition.workflow.edges
        return [(("workflow", "edges", index), edge) for index, edge in zip(self.draft.edges, edges, strict=True)]

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return {node.id: node for _, node in reversed(self.placed_nodes)}

    @cached_property
    def ids(self) -> list[str]:
        """In the file's order, each once."""
        return list(dict.fromkeys(node.id for _, node in self.placed_nodes))

    @cached_property
    def successors(self) -> dict[str, list[str]]:
        """Node → the nodes its edges lead to; edges from or to nothing are left out."""
        found: dict[str, list[str]] = {name: [] for name in self.ids}
        for _, edge in self.placed_edges:
            if edge.source in found and edge.target in found and edge.target not in found[edge.source]:
                found[edge.source].append(edge.target)
        return found

    @cached_property
    def predecessors(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {name: [] for name in self.ids}
        for source, targets in self.successors.items():
            for target in targets:
                found[target].append(source)
        return found

    def before(self, name: str) -> set[str]:
        """Every node from which `name` can be reached."""
        return _reached(self.predecessors, self.predecessors.get(name, ()))

    def after(self, names: list[str]) -> set[str]:
        """These nodes and every node that can be reached from them."""
        return _reached(self.successors, names)

    def line(self, path: KeyPath) -> int:
        return self.draft.positions.line(path)

    def error(self, path: KeyPath, message: str, remedy: str, code: str, *, line: int | None = None) -> Fault:
        return self.draft.fault(path, message, remedy, code, line=line)

    def warning(self, path: KeyPath, message: str, remedy: str, code: str, *, line: int | None = None) -> Fault:
        return self.draft.fault(path, message, remedy, code, warning=True, line=line)

    def targets(self) -> Iterator[str]:
        yield from self.ids
        yield END


def _reached(steps: dict[str, list[str]], start: list[str] | tuple[str, ...]) -> set[str]:
    reached: set[str] = set()
    open_ = list(start)
    while open_:
        name = open_.pop()
        if name not in reached:
            reached.add(name)
            open_ += steps.get(name, ())
    return reached
