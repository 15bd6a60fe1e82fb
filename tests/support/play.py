"""Plays events against the reducer: the smallest world in which a run can be watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.base import Event
from schemas.events import (
    CustomerResponse,
    MessageReceived,
    NodeBegun,
    NodeCompleted,
    NodeTask,
    Outcome,
    RunFinished,
    TimerFired,
)
from schemas.ids import derive
from schemas.workflow.definition import WorkflowDefinition
from streams.core.graph import Graph, compile_graph
from streams.core.reducer import decide
from streams.core.state import Conversation

DIGEST = "d1"


def graph(
    nodes: Sequence[str | Mapping[str, Any]],
    edges: Sequence[tuple[Any, ...] | Mapping[str, Any]],
    *,
    digest: str = DIGEST,
    **more: Any,
) -> Graph:
    """A graph from short hands: a node is its id or a mapping, an edge is (from, to), (from, to, jmespath) or a mapping."""
    definition = WorkflowDefinition.model_validate(
        {
            "name": "play",
            "version": "1.0.0",
            "workflow": {"nodes": [_node(node) for node in nodes], "edges": [_edge(edge) for edge in edges]},
            **more,
        }
    )
    return compile_graph(definition, {"writer": "simple", "thinker": "reasoning"}, digest)


def _node(node: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"agent": "writer", "prompt_template": "go", **({"id": node} if isinstance(node, str) else node)}


def _edge(edge: tuple[Any, ...] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(edge, Mapping):
        return dict(edge)
    source, target, *condition = edge
    return {"from": source, "to": target} | ({"condition": {"type": "jmespath", "expression": condition[0]}} if condition else {})


@dataclass
class Play:
    """One conversation, fed event by event. `outputs` is everything it said so far."""

    graph: Graph
    conversation: Conversation | None = None
    outputs: list[Event] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)
    now_ms: int = 1_000

    def feed(self, event: Event) -> list[Event]:
        decision = decide(self.conversation, event, {self.graph.digest: self.graph})
        self.conversation = decision.conversation
        self.outputs += decision.outputs
        self.history.append(event)
        return decision.outputs

    def message(self, text: str = "hello", message_id: str = "m1", **fields: Any) -> list[Event]:
        self.now_ms += 10
        return self.feed(
            MessageReceived(
                id=derive("c1", message_id),
                time_ms=self.now_ms,
                conversation_id="c1",
                message_id=message_id,
                text=text,
                workflow=self.graph.name,
                version=self.graph.version,
                digest=self.graph.digest,
                **fields,
            )
        )

    def complete(
        self, node_id: str, output: Any = None, *, outcome: Outcome = Outcome.OK, error: str | None = None, **fields: Any
    ) -> list[Event]:
        """The worker's answer to the latest task of this node."""
        self.now_ms += 10
        return self.feed(self.completion(node_id, output, outcome=outcome, error=error, **fields))

    def completion(
        self, node_id: str, output: Any = None, *, outcome: Outcome = Outcome.OK, error: str | None = None, **fields: Any
    ) -> NodeCompleted:
        task = self.task(node_id)
        return NodeCompleted(
            id=derive(task.execution_id, task.attempt, "completed"),
            time_ms=self.now_ms,
            conversation_id="c1",
            run_id=task.run_id,
            node_id=node_id,
            execution_id=task.execution_id,
            attempt=task.attempt,
            epoch=task.epoch,
            outcome=outcome,
            output=output,
            error=error,
            **fields,
        )

    def begin(self, node_id: str, *, waited_ms: int = 0) -> list[Event]:
        """A worker takes the latest task of this node up, after so long."""
        self.now_ms += waited_ms
        task = self.task(node_id)
        return self.feed(
            NodeBegun(
                id=derive(task.execution_id, task.attempt, "begun", self.now_ms),
                time_ms=self.now_ms,
                conversation_id="c1",
                run_id=task.run_id,
                node_id=node_id,
                execution_id=task.execution_id,
                attempt=task.attempt,
                epoch=task.epoch,
                waited_ms=waited_ms,
            )
        )

    def fire(self) -> list[Event]:
        """The conversation's first timer comes due."""
        assert self.conversation is not None
        timer = self.conversation.timers[0]
        self.now_ms = max(self.now_ms, timer.due_ms)
        return self.feed(
            TimerFired(
                id=derive(timer.timer_id, "fired"),
                time_ms=self.now_ms,
                conversation_id="c1",
                timer_id=timer.timer_id,
                due_ms=timer.due_ms,
            )
        )

    def task(self, node_id: str) -> NodeTask:
        return [output for output in self.outputs if isinstance(output, NodeTask) and output.node_id == node_id][-1]

    def responses(self) -> list[CustomerResponse]:
        return [output for output in self.outputs if isinstance(output, CustomerResponse)]

    def ends(self) -> list[RunFinished]:
        return [output for output in self.outputs if isinstance(output, RunFinished)]


def requested(outputs: Sequence[Event]) -> list[str]:
    """Nodes that these outputs ask a worker for."""
    return [output.node_id for output in outputs if isinstance(output, NodeTask)]
