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
LOOK_MS = 60_000
"""How long to leave a limit alone that has come due and does not count yet."""
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


def set_ms(timer: Timer, now_ms: int, *, new: bool) -> int:
    """When to look at a timer that has been set, or moved, just now. A new one's span begins now, however late its event is."""
    return max(timer.due_ms, now_ms + timer.span_ms) if new and timer.span_ms else timer.due_ms


def restored_ms(timer: Timer, now_ms: int) -> int:
    """When to look at a timer of a partition that was just opened. A limit that ran out while nobody looked begins once more."""
    return now_ms + timer.span_ms if timer.span_ms and timer.due_ms <= now_ms else timer.due_ms


def look_again_ms(conversation: Conversation, timer: Timer, now_ms: int) -> int | None:
    """When to look again at a timer that has come due and whose limit does not count yet, for want of a worker. None: fire it.

    Not a day ahead, though it may take that long: what is over by then would be kept until then.
    """
    run = conversation.run
    if not timer.span_ms or run is None:
        return None
    if timer.kind is TimerKind.RUN:
        waits = now_ms < run.started_ms + PATIENCE_MS and not _time_goes_by(run)
    else:
        waits = now_ms < timer.due_ms + PATIENCE_MS and not _has_begun(run, timer.node_id)
    return now_ms + max(timer.span_ms, LOOK_MS) if waits else None


def _has_begun(run: Run, node_id: str) -> bool:
    node = run.nodes.get(node_id)
    return node is not None and node.begun


def _time_goes_by(run: Run) -> bool:
    """A node is worked on, or waits for its next attempt."""
    return any(node.phase is Phase.WAITING or (node.phase is Phase.RUNNING and node.begun) for node in run.nodes.values())
