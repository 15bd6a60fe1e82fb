"""What time limits count: work, and the pauses between attempts. Not the wait for somebody to do the work. Pure.

A node's limit begins when a worker takes its attempt up, and says so. A run's begins with the run and does not count while all
of its nodes wait for workers. So a backlog, of whatever topic, fails nothing; but nobody waits for a worker longer than PATIENCE.

Runs by the rules of before count from when they were asked for.
"""

from __future__ import annotations

from msgspec.structs import replace

from schemas.events import NodeBegun, TimerFired
from streams.core.state import Conversation, NodeState, Phase, Run, Timer, TimerKind
from streams.core.turn import Turn

PATIENCE_MS = 86_400_000
"""After this long without a worker a limit counts all the same: there must be an end."""
HEARING_MS = 1_000
"""How much longer than its worker an attempt is waited for: the worker's own words say more."""


def begun(turn: Turn, event: NodeBegun, node: NodeState) -> None:
    """A worker has taken up this attempt of a node of the run. Once more, if another one had and was lost."""
    nobody_worked = not _time_goes_by(turn.run)
    timers = []
    for timer in turn.conversation.timers:
        if timer.kind is TimerKind.ATTEMPT and timer.node_id == event.node_id:
            due_ms = max(event.time_ms + timer.span_ms + HEARING_MS, timer.due_ms + 1)
            timers.append(replace(timer, due_ms=due_ms))
        elif timer.kind is TimerKind.RUN and nobody_worked and event.waited_ms:
            timers.append(replace(timer, due_ms=timer.due_ms + min(event.waited_ms, PATIENCE_MS)))
        else:
            timers.append(timer)
    turn.update(timers=tuple(timers), run=replace(turn.run, nodes={**turn.run.nodes, event.node_id: replace(node, begun=True)}))


def does_not_count(turn: Turn, timer: Timer, event: TimerFired) -> bool:
    """Whether a limit that has run out has to wait, because what it counted was none of it. It is set anew then.

    Also when it was moved after the event was written: the event is about a time that has changed.
    """
    if not turn.run.message.rules or timer.kind is TimerKind.RETRY:
        return False
    if event.due_ms < timer.due_ms:
        return True
    if timer.kind is not TimerKind.RUN or event.time_ms >= turn.run.started_ms + PATIENCE_MS or _time_goes_by(turn.run):
        return False
    later = replace(timer, due_ms=max(event.time_ms, timer.due_ms) + timer.span_ms)
    turn.update(timers=tuple(later if other is timer else other for other in turn.conversation.timers))
    return True


def set_ms(conversation: Conversation, timer: Timer, now_ms: int, *, new: bool) -> int:
    """When to fire a timer that has been set, or moved, just now. One of an event that was read late has its whole span left."""
    if not timer.span_ms:
        return timer.due_ms
    if timer.kind is TimerKind.ATTEMPT and not _has_begun(conversation, timer.node_id):
        return timer.due_ms + PATIENCE_MS
    return max(timer.due_ms, now_ms + timer.span_ms) if new else timer.due_ms


def restored_ms(conversation: Conversation, timer: Timer, now_ms: int) -> int:
    """When to fire a timer of a partition that was just opened. What ran out while nobody looked begins once more."""
    if not timer.span_ms:
        return timer.due_ms
    at_ms = set_ms(conversation, timer, now_ms, new=False)
    return at_ms if at_ms > now_ms else now_ms + timer.span_ms


def waits_for_a_worker(conversation: Conversation, timer: Timer, now_ms: int) -> bool:
    """Whether a limit that has come due does not count, and is to be looked at later."""
    run = conversation.run
    return (
        timer.kind is TimerKind.RUN
        and timer.span_ms > 0
        and run is not None
        and now_ms < run.started_ms + PATIENCE_MS
        and not _time_goes_by(run)
    )


def _has_begun(conversation: Conversation, node_id: str) -> bool:
    node = conversation.run.nodes.get(node_id) if conversation.run is not None else None
    return node is not None and node.begun


def _time_goes_by(run: Run) -> bool:
    """A node is worked on, or waits for its next attempt."""
    return any(node.phase is Phase.WAITING or (node.phase is Phase.RUNNING and node.begun) for node in run.nodes.values())
