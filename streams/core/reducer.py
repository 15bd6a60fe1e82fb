"""The one way a conversation changes: (conversation, event, definitions) → (conversation', outputs). Pure and total.

What each kind of event means for a conversation is said here; how a run then moves from node to node, in streams.core.advance.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from schemas.base import Event
from schemas.events import (
    CancelRequested,
    ConversationExpired,
    MessageReceived,
    NodeBegun,
    NodeCompleted,
    Outcome,
    RerunRequested,
    TimerFired,
)
from streams.core import advance, bounds, budgets, limits, ownership, response
from streams.core.state import SEEN_BYTES, SEEN_MESSAGES, Conversation, Message, Phase, TimerKind, idle_timer
from streams.core.turn import Definitions, Turn

QUEUE_BOUND = 100
"""Messages of one conversation that may wait for their turn. One more is refused with a response that says so."""


class Decision(msgspec.Struct, frozen=True):
    conversation: Conversation | None
    """None: there is nothing to remember."""
    outputs: list[Event]
    """In the order they were decided; each id is derived from its cause."""
    refusal: ownership.Refusal | None = None
    """Why the event is refused; then there are no outputs, and the conversation is as it was."""


def decide(conversation: Conversation | None, event: Event, definitions: Definitions) -> Decision:
    """Advance one conversation by one event. The same input twice gives the same outputs twice."""
    turn = Turn(conversation or _begun_by(event), event, definitions)
    match event:
        case MessageReceived() | RerunRequested():
            if (refusal := ownership.claim(turn, event, new=conversation is None)) is not None:
                return Decision(conversation, [], refusal)
            _admit(turn, event)
        case NodeBegun():
            _begin(turn, event)
        case NodeCompleted():
            _complete(turn, event)
        case TimerFired():
            _fire(turn, event)
        case CancelRequested():
            _cancel(turn, event)
        case _:
            raise TypeError(f"{event.TYPE} is not an event of a conversation")
    if turn.forgotten or (conversation is None and turn.conversation == Conversation()):
        return Decision(None, turn.outputs)
    budgets.allot(turn)
    return Decision(turn.conversation, turn.outputs)


def _begun_by(event: Event) -> Conversation:
    base = event.ordinal_base if isinstance(event, (MessageReceived, RerunRequested)) else 0
    return Conversation(ordinal=base, base=base)


def _admit(turn: Turn, event: MessageReceived | RerunRequested) -> None:
    seen, mark = turn.conversation.seen, bytes.fromhex(event.id.replace("-", ""))[:SEEN_BYTES]
    if any(seen[at : at + SEEN_BYTES] == mark for at in range(0, len(seen), SEEN_BYTES)):
        apart = (event.time_ms,) if event.rules else ()  # intake admits a record again after a crash, at another time
        turn.set_aside("repeated", *apart, message_id=event.message_id)
        return
    turn.update(seen=(seen + mark)[-SEEN_BYTES * SEEN_MESSAGES :])
    message = Message.of(event)
    if turn.conversation.run is None:
        advance.start(turn, message)
        return
    if message.rules:
        message = replace(message, size=bounds.waiting_bytes(event))
    full = _full(turn.conversation.queue, message)
    if full is None:
        turn.update(queue=(*turn.conversation.queue, message))
        turn.set_aside("queued", message_id=message.message_id)
    else:
        turn.set_aside("refused", message_id=message.message_id)
        turn.out(response.refused(event, message, full))


def _full(queue: tuple[Message, ...], message: Message) -> str | None:
    """Why a message may not wait as well; None when it may."""
    if len(queue) >= QUEUE_BOUND:
        return f"{QUEUE_BOUND} messages of this conversation are waiting already: wait for an answer before sending more"
    waiting = sum(other.size for other in queue)
    if message.rules and waiting + message.size > bounds.QUEUE_BYTES:
        return (
            f"the messages of this conversation that wait may have {bounds.QUEUE_BYTES:,} bytes together, {waiting:,} are "
            f"waiting, and this one has {message.size:,}: wait for an answer before sending more, or send less at once"
        )
    return None


def _begin(turn: Turn, event: NodeBegun) -> None:
    """A worker has taken up an attempt: time limits count from here."""
    run = turn.conversation.run
    node = run.nodes.get(event.node_id) if run is not None and run.run_id == event.run_id else None
    if node is None or node.phase is not Phase.RUNNING or node.attempt != event.attempt or event.epoch != turn.conversation.epoch:
        return  # it has ended in another way, which is on record
    turn.resume()
    limits.begun(turn, event, node)


def _complete(turn: Turn, event: NodeCompleted) -> None:
    run = turn.conversation.run
    before = run.nodes.get(event.node_id) if run is not None and run.run_id == event.run_id else None
    if (
        before is None
        or before.phase is not Phase.RUNNING
        or before.attempt != event.attempt
        or event.epoch != turn.conversation.epoch
    ):
        budgets.spend(turn, event, awaited=False)
        turn.set_aside("stale", node_id=event.node_id)
        return
    budgets.spend(turn, event, awaited=True)
    turn.resume()
    turn.forget_timers(event.node_id)
    error = event.error
    if error and turn.run.message.rules:
        error, _ = bounds.shortened(error, turn.sizes(event.node_id))
    spent = replace(
        before,
        cost_micro_usd=before.cost_micro_usd + event.cost_micro_usd,
        duration_ms=before.duration_ms + event.duration_ms,
        models=_union(before.models, event.models),
        tools=_union(before.tools, event.tools),
        error=error,
        begun=False,
    )
    if turn.graph is None:
        advance.fail(turn, event.node_id, spent, turn.definition_is_gone)
    elif event.outcome is Outcome.OK:
        advance.execute(turn, event.node_id, replace(spent, output=event.output, error=None))
    elif event.outcome is Outcome.RETRYABLE and event.attempt < turn.graph.nodes[event.node_id].retry.max_attempts:
        advance.wait(turn, event, spent)
    elif event.outcome is Outcome.PARK:
        advance.park(turn, event, spent)
    else:
        advance.fail(turn, event.node_id, spent, event.error or "the node gave no reason")
    advance.settle(turn)


def _fire(turn: Turn, event: TimerFired) -> None:
    timer = next((timer for timer in turn.conversation.timers if timer.timer_id == event.timer_id), None)
    if timer is None or turn.conversation.run is None:
        _expire(turn, event)
        return
    if limits.does_not_count(turn, timer, event):
        return
    turn.update(timers=tuple(other for other in turn.conversation.timers if other is not timer))
    turn.resume()
    if timer.kind is TimerKind.RUN:
        span_ms = timer.span_ms or timer.due_ms - turn.run.started_ms
        advance.give_up(turn, f"the run took longer than {span_ms} ms")
    elif timer.kind is TimerKind.ATTEMPT:
        _time_out(turn, timer.node_id)
    elif turn.graph is None:
        advance.fail(turn, timer.node_id, turn.nodes[timer.node_id], turn.definition_is_gone)
    else:
        before = turn.nodes[timer.node_id]
        again = replace(before, phase=Phase.RUNNING, attempt=before.attempt + 1, begun=False)
        advance.request(turn, turn.graph.nodes[timer.node_id], again)
    advance.settle(turn)


def _expire(turn: Turn, event: TimerFired) -> None:
    """Forget a conversation that is still as idle as it was when this timer was set."""
    conversation = turn.conversation
    if not conversation.idle_ms or event.timer_id != idle_timer(event.conversation_id, conversation):
        turn.set_aside("stale")
        return
    turn.audit(ConversationExpired, run_id="-", idle_ms=conversation.idle_ms, ordinal=conversation.ordinal)
    turn.forgotten = True


def _time_out(turn: Turn, node_id: str) -> None:
    """An attempt was not heard of in time. Its worker may still finish: that completion is then stale."""
    before = turn.nodes[node_id]
    node = turn.graph.nodes[node_id] if turn.graph is not None else None
    reason = f"attempt {before.attempt} was not done within {node.timeout_ms if node else 0} ms"
    if turn.run.message.rules and not before.begun:
        reason = f"no worker has taken up attempt {before.attempt} within {limits.PATIENCE_MS // 3_600_000} h"
    if node is None or before.attempt >= node.retry.max_attempts:
        advance.fail(turn, node_id, before, reason)
    else:
        advance.request(turn, node, replace(before, attempt=before.attempt + 1, error=reason, begun=False))


def _cancel(turn: Turn, event: CancelRequested) -> None:
    if turn.conversation.run is None or turn.conversation.run.run_id != event.run_id:
        turn.set_aside("stale")
        return
    turn.resume()
    by = f" by {event.requested_by}" if event.requested_by else ""
    reason = f"cancelled{by}{f': {event.reason}' if event.reason else ''}"
    if turn.run.message.rules:
        reason, _ = bounds.shortened(reason, ())
    advance.give_up(turn, reason)
    advance.finish(turn, cancelled=reason)


def _union(before: tuple[str, ...], more: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *more)))
