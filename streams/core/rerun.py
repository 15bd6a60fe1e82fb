"""A run that begins in the middle: it takes over how an old run's nodes ended, up to the node it begins with. Pure."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec.structs import replace

from streams.core.graph import Graph, Node
from streams.core.state import Message, NodeState, Phase, Run


class Turn(Protocol):
    """What is needed of the reducer's turn."""

    nodes: dict[str, NodeState]
    graph: Graph | None

    @property
    def run(self) -> Run: ...
    def update(self, **changes: Any) -> None: ...
    def execute(self, node_id: str, state: NodeState, reason: str | None = None) -> None: ...
    def skip(self, node: Node, reason: str) -> None: ...
    def fail(self, node_id: str, state: NodeState, reason: str) -> None: ...


def take_over(turn: Turn, message: Message) -> None:
    """Let the nodes of the old run end as they did, at no cost; their edges are decided by the same conditions again.

    What is left undecided afterwards begins with the node asked for. A message that is no rerun changes nothing.
    """
    rerun, graph = message.rerun, turn.graph
    if rerun is None or graph is None:
        return
    for old in rerun.nodes:
        node = graph.nodes.get(old.node_id)
        if node is None or old.node_id in turn.nodes:
            continue
        if old.phase is Phase.EXECUTED:
            ended = NodeState(Phase.RUNNING, output=old.output, error=old.error)
            turn.execute(node.id, ended, f"taken over from run {rerun.run_id}")
        elif old.phase is Phase.SKIPPED:
            turn.skip(node, old.reason or "it was skipped in the run before")
        else:  # whether `on_error` helps was decided then, and it did not
            turn.fail(node.id, NodeState(Phase.FAILED, error=old.error), old.reason or "it failed in the run before")
    spent = replace(message, rerun=replace(rerun, nodes=()))
    turn.update(run=replace(turn.run, message=spent))


def after(graph: Graph, node_id: str) -> frozenset[str]:
    """The node and everything that can be reached from it: what runs again."""
    reached, ahead = {node_id}, [node_id]
    while ahead:
        for edge in graph.nodes[ahead.pop()].out:
            if edge.target in graph.nodes and edge.target not in reached:
                reached.add(edge.target)
                ahead.append(edge.target)
    return frozenset(reached)
