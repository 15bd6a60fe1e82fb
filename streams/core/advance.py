"""How a run moves: nodes begin and end, edges are decided, until nothing moves any more. Pure.

Whenever a node ends, its out-edges are decided; whenever all in-edges of a node are decided, the node runs, is skipped, or fails,
which may end it at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from schemas import events
from schemas.base import trusted
from schemas.events import NodeCompleted, NodeStatus
from schemas.ids import derive
from schemas.workflow.definition import Retry, SubstituteOutput
from streams.core import bounds, limits, rerun, response
from streams.core.conditions import ALWAYS, ConditionFailed
from streams.core.digest import state_digest
from streams.core.graph import Node
from streams.core.state import OPEN, Message, NodeState, Phase, Run, TimerKind, Token
from streams.core.turn import Turn, input_of


def start(turn: Turn, message: Message) -> None:
    """Begin the run of a message."""
    ordinal = message.rerun.ordinal if message.rerun else turn.conversation.ordinal + 1
    run = Run(derive(turn.event.conversation_id, message.event_id, "run"), message, ordinal, turn.event.time_ms, {}, {})
    turn.update(ordinal=max(ordinal, turn.conversation.ordinal), run=run, idle_ms=0)
    turn.resume()
    turn.audit(
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
    if turn.graph is not None:
        take_over(turn, message)
        turn.touched.extend(turn.graph.starts)
        if turn.graph.timeout_ms is not None:
            span_ms = turn.graph.timeout_ms
            turn.remind(TimerKind.RUN, "", turn.event.time_ms + span_ms, run.run_id, span_ms=span_ms if message.rules else 0)
    settle(turn)


def take_over(turn: Turn, message: Message) -> None:
    """Let nodes end as they did in the run that is run again."""
    assert turn.graph is not None
    for node, phase, state, why in rerun.taken_over(message, turn.graph):
        if node.id in turn.nodes:
            continue
        if phase is Phase.EXECUTED:
            execute(turn, node.id, state, why)
        elif phase is Phase.SKIPPED:
            skip(turn, node, why)
        else:  # whether `on_error` helps was decided then, and it did not
            fail(turn, node.id, replace(state, phase=Phase.FAILED), why)
    if message.rerun is not None:
        spent = replace(message, rerun=replace(message.rerun, nodes=()))
        turn.update(run=replace(turn.run, message=spent))


def settle(turn: Turn) -> None:
    """Look at every touched node until nothing moves, then end the run if nobody works on it any more."""
    while turn.touched:
        node_id = turn.touched.popleft()
        if node_id not in turn.nodes:
            consider(turn, node_id)
    if any(node.phase in OPEN for node in turn.nodes.values()):
        turn.update(run=replace(turn.run, nodes=turn.nodes, tokens=turn.tokens, order=tuple(turn.order)))
    else:
        finish(turn)


def finish(turn: Turn, cancelled: str | None = None) -> None:
    """The run is over: answer, and begin the next message that waits. `cancelled` says why it was stopped, if it was."""
    run = replace(turn.run, nodes=turn.nodes, tokens=turn.tokens, order=tuple(turn.order))
    if cancelled is not None:
        end = response.cancelled(run, turn.graph, cancelled)
    else:
        end = response.assemble(run, turn.graph, None if turn.graph else turn.definition_is_gone)
    ordinal = turn.conversation.ordinal + 1
    turn.audit(
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
        duration_ms=max(0, turn.event.time_ms - run.message.received_ms),
        executed=list(run.order),
        skipped=[name for name, node in turn.nodes.items() if node.phase is Phase.SKIPPED],
        failed=[name for name, node in turn.nodes.items() if node.phase is Phase.FAILED],
        state_digest=state_digest(turn.conversation, run),
    )
    turn.out(response.of_run(turn.event, run, end))
    turn.update(run=None, timers=(), ordinal=ordinal, idle_ms=turn.event.time_ms)
    if turn.conversation.queue:
        message, *rest = turn.conversation.queue
        turn.update(queue=tuple(rest))
        start(turn, message)


def give_up(turn: Turn, reason: str) -> None:
    """Let go of every node that is being worked on; nothing follows from their ends."""
    for node_id, state in list(turn.nodes.items()):
        if state.phase in OPEN:
            turn.nodes[node_id] = replace(state, phase=Phase.FAILED, error=reason)
            if turn.graph is not None:
                turn.finished_event(turn.graph.nodes[node_id], NodeStatus.FAILED, reason)
    turn.touched.clear()


def consider(turn: Turn, node_id: str) -> None:
    """Decide a node whose in-edges may be complete. See `ready` for the join rule."""
    assert turn.graph is not None
    node = turn.graph.nodes[node_id]
    token = ready(node, turn.tokens)
    if token is None:
        return
    if token is Token.SKIPPED:
        skip(turn, node, "no edge into it was taken")
    elif token is Token.FAILED:
        missing = [edge.source for edge in node.into if turn.tokens[edge.index] is not Token.TAKEN]
        fail(turn, node_id, NodeState(Phase.RUNNING), f"join: all, but nothing came from {', '.join(missing)}")
    elif node.condition is None:
        request(turn, node, NodeState(Phase.RUNNING, attempt=1))
    else:
        try:
            holds = node.condition.holds(turn.scope(), turn.allowance)
        except ConditionFailed as error:
            fail(turn, node_id, NodeState(Phase.RUNNING), f"its condition raised: {error}")
            return
        if holds:
            request(turn, node, NodeState(Phase.RUNNING, attempt=1))
        else:
            skip(turn, node, "its condition is false")


def request(turn: Turn, node: Node, state: NodeState) -> None:
    """Ask a worker for an attempt."""
    turn.nodes[node.id] = state
    message, execution_id = turn.run.message, derive(turn.run.run_id, node.id)
    deadline_ms, span_ms = None, node.timeout_ms
    if span_ms is not None:
        due_ms = turn.event.time_ms + span_ms
        if message.rules:
            turn.remind(TimerKind.ATTEMPT, node.id, due_ms, execution_id, state.attempt, span_ms=span_ms)
        else:
            deadline_ms = due_ms
            turn.remind(TimerKind.ATTEMPT, node.id, due_ms, execution_id, state.attempt)
    attempt = str(state.attempt)
    turn.audit(
        events.NodeRequested,
        node.id,
        attempt,
        node_id=node.id,
        execution_id=execution_id,
        agent=node.agent,
        attempt=state.attempt,
    )
    task = {
        "id": derive(execution_id, attempt),
        "time_ms": turn.event.time_ms,
        "conversation_id": turn.event.conversation_id,
        "run_id": turn.run.run_id,
        "node_id": node.id,
        "execution_id": execution_id,
        "attempt": state.attempt,
        "epoch": turn.conversation.epoch,
        "agent": node.agent,
        "agent_type": node.agent_type,
        "workflow": f"{message.workflow}@{message.version}",
        "digest": message.digest,
        "ordinal": turn.run.ordinal,
        "earlier": max(0, turn.run.ordinal - turn.conversation.base - 1),
        "input": input_of(turn.event.conversation_id, message),
        "context": message.context,
        "outputs": {name: turn.nodes[name].output for name in turn.order if name in node.sees},
        "finished": list(turn.order),
        "deadline_ms": deadline_ms,
        "announce": bool(message.rules)
        and (span_ms is not None or (turn.graph is not None and turn.graph.timeout_ms is not None)),
    }
    turn.out(trusted(events.NodeTask, task))


def execute(turn: Turn, node_id: str, state: NodeState, reason: str | None = None) -> None:
    """The node has an output: decide its out-edges by their conditions."""
    assert turn.graph is not None
    node = turn.graph.nodes[node_id]
    size = 0
    if turn.run.message.rules:
        size = bounds.size_of(state.output) + bounds.size_of(state.error)
        if (why := bounds.too_large(size, turn.sizes(node_id))) is not None:
            fail(turn, node_id, replace(state, output=None), why)
            return
    turn.nodes[node_id] = replace(state, phase=Phase.EXECUTED, size=size)
    turn.order.append(node_id)
    scope = turn.scope(output=state.output) if any(edge.condition is not ALWAYS for edge in node.out) else {}
    try:
        decided = [(edge, not edge.on_failure and edge.condition.holds(scope, turn.allowance)) for edge in node.out]
    except ConditionFailed as error:
        turn.order.remove(node_id)
        fail(turn, node_id, state, f"the condition of an edge out of it raised: {error}")
        return
    turn.finished_event(node, NodeStatus.EXECUTED, reason)
    for edge, taken in decided:
        turn.decide_edge(edge.index, edge.target, Token.TAKEN if taken else Token.SKIPPED)


def skip(turn: Turn, node: Node, reason: str) -> None:
    """The node does not run; what only it leads to will not either."""
    turn.nodes[node.id] = NodeState(Phase.SKIPPED)
    turn.finished_event(node, NodeStatus.SKIPPED, reason)
    for edge in node.out:
        turn.decide_edge(edge.index, edge.target, Token.SKIPPED)


def fail(turn: Turn, node_id: str, state: NodeState, reason: str) -> None:
    """The node has failed: `on_error` may substitute an output, `on: failure` edges may take it up."""
    node = turn.graph.nodes[node_id] if turn.graph is not None else None
    size = 0
    if turn.run.message.rules:
        reason, size = bounds.shortened(reason, turn.sizes(node_id))
    if node is not None and node.on_error != "fail" and not state.parked and state.phase is not Phase.FAILED:
        substitute = node.on_error.output if isinstance(node.on_error, SubstituteOutput) else None
        execute(turn, node_id, replace(state, phase=Phase.FAILED, output=substitute, error=reason))
        return
    failed = replace(state, phase=Phase.FAILED, output=None, error=reason, size=size)
    taken: dict[int, bool] = {}
    if node is not None:
        scope = turn.scope(output={"error": reason})
        for edge in node.out:
            try:
                taken[edge.index] = edge.on_failure and edge.condition.holds(scope, turn.allowance)
            except ConditionFailed:
                taken[edge.index] = False  # the node has failed already; the run will say why
    turn.nodes[node_id] = replace(failed, handled=any(taken.values()))
    if node is None:
        return
    turn.finished_event(node, NodeStatus.FAILED, reason)
    for edge in node.out:
        turn.decide_edge(edge.index, edge.target, Token.TAKEN if taken[edge.index] else Token.FAILED)


def park(turn: Turn, event: NodeCompleted, state: NodeState) -> None:
    """Only a person can go on: tell people, and end the node as failed so that the customer gets an answer now."""
    reason = event.error or "a person is needed"
    turn.out(
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
    fail(turn, event.node_id, replace(state, parked=True), reason)


def wait(turn: Turn, event: NodeCompleted, state: NodeState) -> None:
    """Attempt it again later; a provider's own wish is honoured when it is longer than our back-off, up to a day."""
    assert turn.graph is not None
    delay_ms = back_off_ms(turn.graph.nodes[event.node_id].retry, event.execution_id, event.attempt)
    turn.nodes[event.node_id] = replace(state, phase=Phase.WAITING)
    wish_ms = event.retry_after_ms or 0
    if turn.run.message.rules:
        wish_ms = min(wish_ms, limits.PATIENCE_MS)
    due_ms = event.time_ms + max(delay_ms, wish_ms)
    turn.remind(TimerKind.RETRY, event.node_id, due_ms, event.execution_id, event.attempt)


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
