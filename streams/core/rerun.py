"""A run that begins in the middle: it takes over how an old run's nodes ended, up to the node it begins with. Pure."""

from __future__ import annotations

from streams.core.graph import Graph, Node
from streams.core.state import Message, NodeState, Phase, Rerun, Reused


def taken_over(message: Message, graph: Graph) -> list[tuple[Node, Phase, NodeState, str]]:
    """Which nodes end as they did in the old run, at no cost: (node, how it ended, its state, why), in the order they ended.

    Their edges are decided by the same conditions again; what is left undecided begins with the node asked for.
    Nothing, for a message that is no rerun.
    """
    if message.rerun is None:
        return []
    ended = {old.node_id: old for old in message.rerun.nodes if old.node_id in graph.nodes}
    return [
        (graph.nodes[name], old.phase, NodeState(Phase.RUNNING, output=old.output, error=old.error), _why(message.rerun, old))
        for name, old in ended.items()
    ]


def _why(rerun: Rerun, old: Reused) -> str:
    if old.phase is Phase.EXECUTED:
        return f"taken over from run {rerun.run_id}"
    return old.reason or f"it {'was skipped' if old.phase is Phase.SKIPPED else 'failed'} in the run before"


def after(graph: Graph, node_id: str) -> frozenset[str]:
    """The node and everything that can be reached from it: what runs again."""
    reached, ahead = {node_id}, [node_id]
    while ahead:
        for edge in graph.nodes[ahead.pop()].out:
            if edge.target in graph.nodes and edge.target not in reached:
                reached.add(edge.target)
                ahead.append(edge.target)
    return frozenset(reached)
