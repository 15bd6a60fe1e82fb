"""The one place where a run advances: (conversation, event, definitions) → (conversation', outputs). Pure and total.

A run is a set of decided edges. Whenever a node ends, its out-edges are decided; whenever all in-edges of a node are decided,
the node runs, is skipped, or fails, which may end it at once. This repeats until nothing moves; then either some node is still
being worked on, or the run is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from schemas import events
from schemas.base import Event
from schemas.events import CancelRequested, MessageReceived, NodeCompleted, NodeStatus, Outcome, RerunRequested, TimerFired
from schemas.ids import derive
from schemas.workflow.definition import END, Retry, SubstituteOutput
from schemas.workflow.scope import condition_scope
from streams.core import rerun, response
from streams.core.conditions import ConditionFailed
from streams.core.digest import state_digest
from streams.core.graph import Graph, Node
from streams.core.state import (
    OPEN,
    SEEN_BYTES,
    SEEN_MESSAGES,
    Conversation,
    Message,
    NodeState,
    Phase,
    Run,
    Timer,
    TimerKind,
    Token,
)

QUEUE_BOUND = 100
"""Messages of one conversation that may wait for their turn. One more is refused with a response that says so."""

Definitions = Mapping[str, Graph]
"""Digest → graph. Content-addressed, so what a digest means never changes."""


@dataclass(frozen=True, slots=True)
class Decision:
    conversation: Conversation
    outputs: list[Event]
    """In the order they were decided; each id is derived from its cause."""


def decide(conversation: Conversation | None, event: Event, definitions: Definitions) -> Decision:
    """Advance one conversation by one event. The same input twice gives the same outputs twice."""
    turn = _Turn(conversation or Conversation(), event, definitions)
    match event:
        case MessageReceived() | RerunRequested():
            _admit(turn, event)
        case NodeCompleted():
            _complete(turn, event)
        case TimerFired():
            _fire(turn, event)
        case CancelRequested():
            _cancel(turn, event)
        case _:
            raise TypeError(f"{event.TYPE} is not an event of a conversation")
    return Decision(turn.conversation, turn.outputs)


# ------------------------------------------------------------------------------------------------ what came in


def _admit(turn: _Turn, event: MessageReceived | RerunRequested) -> None:
    seen, mark = turn.conversation.seen, bytes.fromhex(event.id.replace("-", ""))[:SEEN_BYTES]
    if any(seen[at : at + SEEN_BYTES] == mark for at in range(0, len(seen), SEEN_BYTES)):
        turn.set_aside("repeated", message_id=event.message_id)
        return
    turn.update(seen=(seen + mark)[-SEEN_BYTES * SEEN_MESSAGES :])
    message = Message.of(event)
    if turn.conversation.run is None:
        turn.start(message)
    elif len(turn.conversation.queue) < QUEUE_BOUND:
        turn.update(queue=(*turn.conversation.queue, message))
        turn.set_aside("queued", message_id=message.message_id)
    else:
        turn.set_aside("refused", message_id=message.message_id)
        turn.out(response.refused(event, message, QUEUE_BOUND))


def _complete(turn: _Turn, event: NodeCompleted) -> None:
    run = turn.conversation.run
    before = run.nodes.get(event.node_id) if run is not None and run.run_id == event.run_id else None
    if (
        before is None
        or before.phase is not Phase.RUNNING
        or before.attempt != event.attempt
        or event.epoch != turn.conversation.epoch
    ):
        turn.set_aside("stale", node_id=event.node_id)
        return
    turn.resume()
    turn.forget_timers(event.node_id)
    spent = replace(
        before,
        cost_micro_usd=before.cost_micro_usd + event.cost_micro_usd,
        duration_ms=before.duration_ms + event.duration_ms,
        models=_union(before.models, event.models),
        tools=_union(before.tools, event.tools),
        error=event.error,
    )
    if turn.graph is None:
        turn.fail(event.node_id, spent, turn.definition_is_gone)
    elif event.outcome is Outcome.OK:
        turn.execute(event.node_id, replace(spent, output=event.output, error=None))
    elif event.outcome is Outcome.RETRYABLE and event.attempt < turn.graph.nodes[event.node_id].retry.max_attempts:
        turn.wait(event, spent)
    elif event.outcome is Outcome.PARK:
        turn.park(event, spent)
    else:
        turn.fail(event.node_id, spent, event.error or "the node gave no reason")
    turn.settle()


def _fire(turn: _Turn, event: TimerFired) -> None:
    timer = next((timer for timer in turn.conversation.timers if timer.timer_id == event.timer_id), None)
    if timer is None or turn.conversation.run is None:
        turn.set_aside("stale")
        return
    turn.update(timers=tuple(other for other in turn.conversation.timers if other is not timer))
    turn.resume()
    if timer.kind is TimerKind.RUN:
        turn.give_up(f"the run took longer than {timer.due_ms - turn.run.started_ms} ms")
    elif timer.kind is TimerKind.ATTEMPT:
        _time_out(turn, timer.node_id)
    elif turn.graph is None:
        turn.fail(timer.node_id, turn.nodes[timer.node_id], turn.definition_is_gone)
    else:
        before = turn.nodes[timer.node_id]
        turn.request(turn.graph.nodes[timer.node_id], replace(before, phase=Phase.RUNNING, attempt=before.attempt + 1))
    turn.settle()


def _time_out(turn: _Turn, node_id: str) -> None:
    """An attempt was not heard of in time. Its worker may still finish: that completion is then stale."""
    before = turn.nodes[node_id]
    node = turn.graph.nodes[node_id] if turn.graph is not None else None
    reason = f"attempt {before.attempt} was not done within {node.timeout_ms if node else 0} ms"
    if node is None or before.attempt >= node.retry.max_attempts:
        turn.fail(node_id, before, reason)
    else:
        turn.request(node, replace(before, attempt=before.attempt + 1, error=reason))


def _cancel(turn: _Turn, event: CancelRequested) -> None:
    if turn.conversation.run is None or turn.conversation.run.run_id != event.run_id:
        turn.set_aside("stale")
        return
    turn.resume()
    by = f" by {event.requested_by}" if event.requested_by else ""
    reason = f"cancelled{by}{f': {event.reason}' if event.reason else ''}"
    turn.give_up(reason)
    turn.finish(cancelled=reason)


def _union(before: tuple[str, ...], more: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *more)))


# ------------------------------------------------------------------------------------------------ one turn


@dataclass(slots=True)
class _Turn:
    """The work of one event: copies of what may change, and the outputs so far. Lives no longer than `decide`."""

    conversation: Conversation
    event: Event
    definitions: Definitions
    outputs: list[Event] = field(default_factory=list)
    graph: Graph | None = None
    nodes: dict[str, NodeState] = field(default_factory=dict)
    tokens: dict[int, Token] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    touched: deque[str] = field(default_factory=deque)
    """Nodes one of whose in-edges was decided and that nobody has looked at since."""

    # -- bookkeeping

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
        run_id = fields.pop("run_id", None) or self.run.run_id
        self.out(
            kind(
                id=derive(self.event.id, kind.TYPE, *parts),
                time_ms=self.event.time_ms,
                conversation_id=self.event.conversation_id,
                cause_id=self.event.id,
                run_id=run_id,
                **fields,
            )
        )

    def set_aside(self, reason: str, *, message_id: str | None = None, node_id: str | None = None) -> None:
        run_id = getattr(self.event, "run_id", None) or (self.conversation.run.run_id if self.conversation.run else "-")
        self.audit(events.MessageSetAside, reason, run_id=run_id, reason=reason, message_id=message_id, node_id=node_id)

    # -- a run begins and ends

    def start(self, message: Message) -> None:
        ordinal = message.rerun.ordinal if message.rerun else self.conversation.ordinal + 1
        run = Run(derive(self.event.conversation_id, message.event_id, "run"), message, ordinal, self.event.time_ms, {}, {})
        self.update(ordinal=max(ordinal, self.conversation.ordinal), run=run)
        self.resume()
        self.audit(
            events.RunStarted,
            run.run_id,
            message_id=message.message_id,
            ordinal=ordinal,
            text=message.text,
            workflow=message.workflow,
            version=message.version,
            digest=message.digest,
            customer_id=message.customer_id,
            customer_email=message.customer_email,
            context=message.context,
            input=message.input,
            received_ms=message.received_ms,
            rerun_of=message.rerun.run_id if message.rerun else None,
            rerun_from=message.rerun.node_id if message.rerun else None,
        )
        if self.graph is not None:
            rerun.take_over(self, message)
            self.touched.extend(self.graph.starts)
            if self.graph.timeout_ms is not None:
                self.remind(TimerKind.RUN, "", self.event.time_ms + self.graph.timeout_ms, run.run_id)
        self.settle()

    def settle(self) -> None:
        """Look at every touched node until nothing moves, then end the run if nobody works on it any more."""
        while self.touched:
            node_id = self.touched.popleft()
            if node_id not in self.nodes:
                self.consider(node_id)
        if any(node.phase in OPEN for node in self.nodes.values()):
            self.update(run=replace(self.run, nodes=self.nodes, tokens=self.tokens, order=tuple(self.order)))
        else:
            self.finish()

    def finish(self, cancelled: str | None = None) -> None:
        run = replace(self.run, nodes=self.nodes, tokens=self.tokens, order=tuple(self.order))
        if cancelled is not None:
            end = response.cancelled(run, self.graph, cancelled)
        else:
            end = response.assemble(run, self.graph, None if self.graph else self.definition_is_gone)
        ordinal = self.conversation.ordinal + 1
        self.audit(
            events.RunFinished,
            run.run_id,
            message_id=run.message.message_id,
            ordinal=ordinal,
            workflow=run.message.workflow,
            version=run.message.version,
            status=end.status,
            text=end.text,
            error=end.error,
            cost_micro_usd=end.cost_micro_usd,
            duration_ms=max(0, self.event.time_ms - run.message.received_ms),
            executed=list(run.order),
            skipped=[name for name, node in self.nodes.items() if node.phase is Phase.SKIPPED],
            failed=[name for name, node in self.nodes.items() if node.phase is Phase.FAILED],
            state_digest=state_digest(self.conversation, run),
        )
        self.out(response.of_run(self.event, run, end))
        self.update(run=None, timers=(), ordinal=ordinal)
        if self.conversation.queue:
            message, *rest = self.conversation.queue
            self.update(queue=tuple(rest))
            self.start(message)

    def give_up(self, reason: str) -> None:
        """Let go of every node that is being worked on; nothing follows from their ends."""
        for node_id, state in list(self.nodes.items()):
            if state.phase in OPEN:
                self.nodes[node_id] = replace(state, phase=Phase.FAILED, error=reason)
                if self.graph is not None:
                    self.finished_event(self.graph.nodes[node_id], NodeStatus.FAILED, reason)
        self.touched.clear()

    # -- timers

    def remind(self, kind: TimerKind, node_id: str, due_ms: int, *cause: str | int) -> None:
        timer = Timer(derive(*cause, kind), due_ms, node_id, kind)
        self.update(timers=(*self.conversation.timers, timer))

    def forget_timers(self, node_id: str) -> None:
        timers = self.conversation.timers
        if any(timer.node_id == node_id for timer in timers):
            self.update(timers=tuple(timer for timer in timers if timer.node_id != node_id))

    # -- a node begins

    def consider(self, node_id: str) -> None:
        """Decide a node whose in-edges may be complete. See `ready` for the join rule."""
        assert self.graph is not None
        node = self.graph.nodes[node_id]
        token = ready(node, self.tokens)
        if token is None:
            return
        if token is Token.SKIPPED:
            self.skip(node, "no edge into it was taken")
        elif token is Token.FAILED:
            missing = [edge.source for edge in node.into if self.tokens[edge.index] is not Token.TAKEN]
            self.fail(node_id, NodeState(Phase.RUNNING), f"join: all, but nothing came from {', '.join(missing)}")
        elif node.condition is None:
            self.request(node, NodeState(Phase.RUNNING, attempt=1))
        else:
            try:
                holds = node.condition.holds(self.scope())
            except ConditionFailed as error:
                self.fail(node_id, NodeState(Phase.RUNNING), f"its condition raised: {error}")
                return
            if holds:
                self.request(node, NodeState(Phase.RUNNING, attempt=1))
            else:
                self.skip(node, "its condition is false")

    def scope(self, **output: Any) -> dict[str, Any]:
        return condition_scope(
            _input(self.event.conversation_id, self.run.message), self.run.message.context, self.finished(), **output
        )

    def finished(self) -> dict[str, Any]:
        return {name: self.nodes[name].output for name in self.order}

    def request(self, node: Node, state: NodeState) -> None:
        self.nodes[node.id] = state
        message, execution_id = self.run.message, derive(self.run.run_id, node.id)
        deadline_ms = None if node.timeout_ms is None else self.event.time_ms + node.timeout_ms
        if deadline_ms is not None:
            self.remind(TimerKind.ATTEMPT, node.id, deadline_ms, execution_id, state.attempt)
        self.audit(
            events.NodeRequested,
            node.id,
            state.attempt,
            node_id=node.id,
            execution_id=execution_id,
            agent=node.agent,
            attempt=state.attempt,
        )
        self.out(
            events.NodeTask(
                id=derive(execution_id, state.attempt),
                time_ms=self.event.time_ms,
                conversation_id=self.event.conversation_id,
                run_id=self.run.run_id,
                node_id=node.id,
                execution_id=execution_id,
                attempt=state.attempt,
                epoch=self.conversation.epoch,
                agent=node.agent,
                agent_type=node.agent_type,
                workflow=f"{message.workflow}@{message.version}",
                digest=message.digest,
                ordinal=self.run.ordinal,
                input=_input(self.event.conversation_id, message),
                context=message.context,
                outputs={name: self.nodes[name].output for name in self.order if name in node.sees},
                finished=list(self.order),
                deadline_ms=deadline_ms,
            )
        )

    # -- a node ends, once

    def execute(self, node_id: str, state: NodeState, reason: str | None = None) -> None:
        """The node has an output: decide its out-edges by their conditions."""
        assert self.graph is not None
        node = self.graph.nodes[node_id]
        self.nodes[node_id] = replace(state, phase=Phase.EXECUTED)
        self.order.append(node_id)
        scope = self.scope(output=state.output)
        try:
            decided = [(edge, not edge.on_failure and edge.condition.holds(scope)) for edge in node.out]
        except ConditionFailed as error:
            self.order.remove(node_id)
            self.fail(node_id, state, f"the condition of an edge out of it raised: {error}")
            return
        self.finished_event(node, NodeStatus.EXECUTED, reason)
        for edge, taken in decided:
            self.decide_edge(edge.index, edge.target, Token.TAKEN if taken else Token.SKIPPED)

    def skip(self, node: Node, reason: str) -> None:
        self.nodes[node.id] = NodeState(Phase.SKIPPED)
        self.finished_event(node, NodeStatus.SKIPPED, reason)
        for edge in node.out:
            self.decide_edge(edge.index, edge.target, Token.SKIPPED)

    def fail(self, node_id: str, state: NodeState, reason: str) -> None:
        """The node has failed: `on_error` may substitute an output, `on: failure` edges may take it up."""
        node = self.graph.nodes[node_id] if self.graph is not None else None
        if node is not None and node.on_error != "fail" and not state.parked and state.phase is not Phase.FAILED:
            substitute = node.on_error.output if isinstance(node.on_error, SubstituteOutput) else None
            self.execute(node_id, replace(state, phase=Phase.FAILED, output=substitute, error=reason))
            return
        failed = replace(state, phase=Phase.FAILED, output=None, error=reason)
        taken: dict[int, bool] = {}
        if node is not None:
            scope = self.scope(output={"error": reason})
            for edge in node.out:
                try:
                    taken[edge.index] = edge.on_failure and edge.condition.holds(scope)
                except ConditionFailed:
                    taken[edge.index] = False  # the node has failed already; the run will say why
        self.nodes[node_id] = replace(failed, handled=any(taken.values()))
        if node is None:
            return
        self.finished_event(node, NodeStatus.FAILED, reason)
        for edge in node.out:
            self.decide_edge(edge.index, edge.target, Token.TAKEN if taken[edge.index] else Token.FAILED)

    def park(self, event: NodeCompleted, state: NodeState) -> None:
        """Only a person can go on: tell people, and end the node as failed so that the customer gets an answer now."""
        reason = event.error or "a person is needed"
        self.out(
            events.HumanTask(
                id=derive(event.id, "human-task"),
                time_ms=event.time_ms,
                conversation_id=event.conversation_id,
                run_id=event.run_id,
                node_id=event.node_id,
                reason=reason,
                details=event.output,
            )
        )
        self.fail(event.node_id, replace(state, parked=True), reason)

    def wait(self, event: NodeCompleted, state: NodeState) -> None:
        """Attempt it again later; a provider's own wish is honoured when it is longer than our back-off."""
        assert self.graph is not None
        delay_ms = back_off_ms(self.graph.nodes[event.node_id].retry, event.execution_id, event.attempt)
        self.nodes[event.node_id] = replace(state, phase=Phase.WAITING)
        due_ms = event.time_ms + max(delay_ms, event.retry_after_ms or 0)
        self.remind(TimerKind.RETRY, event.node_id, due_ms, event.execution_id, event.attempt)

    # -- what follows from an end

    def decide_edge(self, index: int, target: str, token: Token) -> None:
        self.tokens[index] = token
        if target != END:
            self.touched.append(target)

    def finished_event(self, node: Node, status: NodeStatus, reason: str | None) -> None:
        state, event = self.nodes[node.id], self.event
        mine = event if isinstance(event, NodeCompleted) and event.node_id == node.id else None
        self.audit(
            events.NodeFinished,
            node.id,
            node_id=node.id,
            status=status,
            agent=node.agent,
            agent_type=node.agent_type,
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
        )


def ready(node: Node, tokens: Mapping[int, Token]) -> Token | None:
    """The join rule. taken: run it. skipped: pass it on. failed: `join: all` and some in-edge is missing. None: still open.

    A node without in-edges runs. A node none of whose in-edges is taken is skipped whatever its join says: a branch that
    was not chosen cannot fail.
    """
    decided = [tokens.get(edge.index) for edge in node.into]
    if None in decided:
        return None
    if not decided or all(token is Token.TAKEN for token in decided):
        return Token.TAKEN
    if Token.TAKEN not in decided:
        return Token.SKIPPED
    return Token.FAILED if node.join_all else Token.TAKEN


def back_off_ms(retry: Retry, execution_id: str, attempt: int) -> int:
    """Exponential, with jitter: between half of the full delay and all of it. The jitter is the cause's own, so it repeats."""
    full = min(retry.initial_delay_seconds * retry.backoff ** (attempt - 1), retry.max_delay_seconds) * 1000
    share = int(derive(execution_id, attempt, "jitter")[:8], 16) / 0xFFFFFFFF
    return int(full * (1 + share) / 2)


def _input(conversation_id: str, message: Message) -> dict[str, Any]:
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
