"""The work of one event: copies of what may change, and the outputs so far. Keeps books; the rules are in advance and reducer."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from schemas import events
from schemas.base import Event, trusted
from schemas.events import NodeCompleted, NodeStatus
from schemas.ids import derive
from schemas.workflow.bounds import Allowance
from schemas.workflow.definition import END
from schemas.workflow.scope import condition_scope
from streams.core.graph import Graph, Node
from streams.core.state import Conversation, Message, NodeState, Phase, Run, Timer, TimerKind, Token

Definitions = Mapping[str, Graph]
"""Digest → graph. Content-addressed, so what a digest means never changes."""


@dataclass(slots=True)
class Turn:
    """Lives no longer than one `decide`."""

    conversation: Conversation
    event: Event
    definitions: Definitions
    outputs: list[Event] = field(default_factory=list)
    graph: Graph | None = None
    nodes: dict[str, NodeState] = field(default_factory=dict)
    tokens: dict[int, Token] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    forgotten: bool = False
    """Nothing of the conversation is to be remembered."""
    allowance: Allowance = field(default_factory=Allowance)
    """What its conditions may spend: however many there are, they hold up no partition."""
    touched: deque[str] = field(default_factory=deque)
    """Nodes one of whose in-edges was decided and that nobody has looked at since."""

    def update(self, **changes: Any) -> None:
        self.conversation = replace(self.conversation, **changes)

    @property
    def run(self) -> Run:
        assert self.conversation.run is not None
        return self.conversation.run

    @property
    def definition_is_gone(self) -> str:
        message = self.run.message
        return f"the definition {message.workflow}@{message.version} ({message.digest}) is not published any more"

    def resume(self) -> None:
        """Take up the run in flight, under the definition it started with."""
        self.graph = self.definitions.get(self.run.message.digest)
        self.nodes, self.tokens, self.order = dict(self.run.nodes), dict(self.run.tokens), list(self.run.order)

    def out(self, event: Event) -> None:
        self.outputs.append(event)

    def audit(self, kind: type[events.workflow.Decided], *parts: str | int, **fields: Any) -> None:
        """Say what was decided. One event may end a run and begin the next, so ids name the run as well."""
        event = self.event
        run_id = fields.get("run_id") or self.run.run_id
        fields |= {
            "id": derive(event.id, kind.TYPE, run_id, *parts),
            "time_ms": event.time_ms,
            "conversation_id": event.conversation_id,
            "cause_id": event.id,
            "run_id": run_id,
        }
        self.outputs.append(trusted(kind, fields))

    def set_aside(self, reason: str, *apart: str | int, message_id: str | None = None, node_id: str | None = None) -> None:
        """`apart`: what tells it from others of the same event's id, for the same reason."""
        run_id = getattr(self.event, "run_id", None) or (self.conversation.run.run_id if self.conversation.run else "-")
        self.audit(events.MessageSetAside, reason, *apart, run_id=run_id, reason=reason, message_id=message_id, node_id=node_id)

    def remind(self, kind: TimerKind, node_id: str, due_ms: int, *cause: str | int, span_ms: int = 0) -> None:
        timer = Timer(derive(*cause, kind), due_ms, node_id, kind, span_ms)
        self.update(timers=(*self.conversation.timers, timer))

    def forget_timers(self, node_id: str) -> None:
        timers = self.conversation.timers
        if any(timer.node_id == node_id for timer in timers):
            self.update(timers=tuple(timer for timer in timers if timer.node_id != node_id))

    def scope(self, **output: Any) -> dict[str, Any]:
        """What a condition sees now."""
        outputs = {name: self.nodes[name].output for name in self.order}
        without = {name: None for name, state in self.nodes.items() if state.phase in (Phase.SKIPPED, Phase.FAILED)}
        return without | condition_scope(
            input_of(self.event.conversation_id, self.run.message),
            self.run.message.context,
            outputs,
            names=self.graph.names if self.graph is not None else None,
            **output,
        )

    def decide_edge(self, index: int, target: str, token: Token) -> None:
        self.tokens[index] = token
        if target != END:
            self.touched.append(target)

    def sizes(self, but: str) -> list[int]:
        """Bytes that the outputs and errors of the run's other nodes have."""
        return [state.size for name, state in self.nodes.items() if name != but]

    def finished_event(self, node: Node, status: NodeStatus, reason: str | None) -> None:
        state, event = self.nodes[node.id], self.event
        mine = event if isinstance(event, NodeCompleted) and event.node_id == node.id else None
        self.audit(
            events.NodeFinished,
            node.id,
            node_id=node.id,
            status=status,
            agent=(mine and mine.agent) or node.agent,
            agent_type=(mine and mine.agent_type) or node.agent_type,
            attempt=state.attempt,
            output=state.output,
            error=state.error,
            reason=reason,
            cost_micro_usd=state.cost_micro_usd,
            input_text_tokens=mine.input_text_tokens if mine else 0,
            output_text_tokens=mine.output_text_tokens if mine else 0,
            duration_ms=state.duration_ms,
            models=list(state.models),
            tools=list(state.tools),
            steps=mine.steps if mine else None,
            fault=mine.fault if mine else "",
        )


def input_of(conversation_id: str, message: Message) -> dict[str, Any]:
    """The input fields a workflow sees."""
    return {
        "text": message.text,
        "message": message.text,
        "customer_message": message.text,
        "conversation_id": conversation_id,
        "message_id": message.message_id,
        "customer_id": message.customer_id,
        "customer_email": message.customer_email,
        **message.input,
    }
