"""A workflow definition compiled for deciding: edges by number, conditions ready to ask, each node's view known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.workflow.definition import END, Retry, SubstituteOutput, WorkflowDefinition
from schemas.workflow.definition import Node as NodeDefinition
from schemas.workflow.scope import taken_names
from schemas.workflow.templates import Template, TemplateFault
from streams.core.conditions import CompiledCondition, compile_condition

DEFAULT_FAILURE_RESPONSE = (
    "Sorry, something went wrong on our side and we could not answer your message. A colleague has been told."
)


@dataclass(frozen=True, slots=True)
class Edge:
    index: int
    source: str
    target: str
    on_failure: bool
    condition: CompiledCondition


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    agent: str
    agent_type: str
    join_all: bool
    condition: CompiledCondition | None
    retry: Retry
    timeout_ms: int | None
    """How long one attempt may take, from its request to its completion; None: as long as its worker lets it."""
    on_error: str | SubstituteOutput
    into: tuple[Edge, ...]
    out: tuple[Edge, ...]
    sees: frozenset[str]
    """The nodes whose outputs travel with its task: direct predecessors, and those its text names."""


@dataclass(frozen=True, slots=True)
class Graph:
    name: str
    version: str
    digest: str
    nodes: Mapping[str, Node]
    """In the definition's order."""
    starts: tuple[str, ...]
    failure_response: str
    timeout_ms: int | None = None
    """How long a run may take."""
    max_cost_micro_usd: int | None = None
    """What a whole conversation may cost."""
    shared: bool = False
    """Conversations that begin with it belong to no customer: anybody may go on with them."""
    names: frozenset[str] = frozenset()
    """What a message may not use as a name, because it is a node's, or a word's."""

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


def compile_graph(definition: WorkflowDefinition, agent_types: Mapping[str, str], digest: str) -> Graph:
    """Compile a valid definition. Raises what its conditions raise when they do not compile; the validator says it nicer."""
    edges = [
        Edge(index, edge.source, edge.target, edge.on == "failure", compile_condition(edge.condition))
        for index, edge in enumerate(definition.workflow.edges)
    ]
    into: dict[str, list[Edge]] = {}
    out: dict[str, list[Edge]] = {}
    for edge in edges:
        into.setdefault(edge.target, []).append(edge)
        out.setdefault(edge.source, []).append(edge)
    ids = frozenset(node.id for node in definition.workflow.nodes)
    limit = definition.cost_controls.max_cost_per_conversation
    nodes = {
        node.id: Node(
            id=node.id,
            agent=node.agent,
            agent_type=agent_types[node.agent],
            join_all=node.join == "all",
            condition=compile_condition(node.condition) if node.condition is not None else None,
            retry=node.retry,
            timeout_ms=_milliseconds(node.timeout_seconds),
            on_error=node.on_error,
            into=tuple(into.get(node.id, ())),
            out=tuple(out.get(node.id, ())),
            sees=_view(node, ids, frozenset(edge.source for edge in into.get(node.id, ()))),
        )
        for node in definition.workflow.nodes
    }
    return Graph(
        name=definition.name,
        version=definition.version,
        digest=digest,
        nodes=nodes,
        starts=tuple(node.id for node in nodes.values() if not node.into),
        failure_response=definition.failure_response or DEFAULT_FAILURE_RESPONSE,
        timeout_ms=_milliseconds(definition.timeout_seconds),
        max_cost_micro_usd=None if limit is None else int(limit.scaleb(6)),
        shared=definition.conversations == "shared",
        names=taken_names(ids),
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))


def _view(node: NodeDefinition, ids: frozenset[str], predecessors: frozenset[str]) -> frozenset[str]:
    names: frozenset[str] = frozenset()
    for text in (node.instruction, node.system_prompt or ""):
        try:
            names |= Template(text).names
        except TemplateFault:
            return ids  # the node will fail when it renders; until then it may see everything
    return predecessors | (names & ids)


def is_end(target: str) -> bool:
    return target == END
