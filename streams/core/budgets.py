"""What a conversation may cost, kept exactly: what its attempts have spent, and what those at work may still spend. Pure.

Nothing is refused here, so a budget changes no decision that is on record: a node's task says what it may spend, its worker keeps
to that, and its completion says what it came to. At any time

    spent + what the holds have left ≤ the limit

as long as no worker spends more than it was allowed; if one does, the others get less.
"""

from __future__ import annotations

from msgspec.structs import replace

from schemas.events import NodeCompleted, NodeTask, Outcome
from streams.core.state import OPEN, Conversation, Hold
from streams.core.turn import Turn

MAX_ABANDONED = 4
"""Holds of ended runs whose workers have not been heard of. The oldest beyond that count as spent, to keep state small."""


def spend(turn: Turn, event: NodeCompleted, *, awaited: bool) -> None:
    """Count what an attempt cost, once. `awaited`: the run waits for it; otherwise it was given up on, or is a repeat."""
    conversation = turn.conversation
    hold = _find(conversation.holds, event.run_id, event.node_id)
    if hold is None:
        if awaited and event.cost_micro_usd:
            turn.update(spent_micro_usd=conversation.spent_micro_usd + event.cost_micro_usd)
        return
    if event.attempt <= hold.counted:
        return
    if not awaited and event.attempt < hold.attempt and event.outcome is not Outcome.RETRYABLE:
        return  # the worker answers the later attempt with this same end, and its cost
    counted = replace(hold, spent_micro_usd=hold.spent_micro_usd + event.cost_micro_usd, counted=event.attempt)
    turn.update(
        spent_micro_usd=conversation.spent_micro_usd + event.cost_micro_usd,
        holds=tuple(counted if other is hold else other for other in conversation.holds),
    )


def allot(turn: Turn) -> None:
    """End the holds of nodes that have ended, and share what is free among the nodes this turn asks for, in equal parts."""
    limit = turn.graph.max_cost_micro_usd if turn.graph is not None else None
    if limit is None and not turn.conversation.holds:
        return
    holds, spent = _kept(turn.conversation)
    asked = [at for at, output in enumerate(turn.outputs) if limit is not None and isinstance(output, NodeTask)]
    if limit is not None and asked:
        free = max(0, limit - spent - sum(map(left, holds.values())))
        for place, at in enumerate(asked):
            task = turn.outputs[at]
            assert isinstance(task, NodeTask)
            share = free // len(asked) + (place < free % len(asked))
            key = (task.run_id, task.node_id)
            before = holds.get(key) or Hold(*key, 0, task.attempt)
            hold = replace(before, allowance_micro_usd=before.allowance_micro_usd + share, attempt=task.attempt)
            holds[key] = hold
            allowed = {"budget_micro_usd": hold.allowance_micro_usd, "conversation_cost_micro_usd": spent}
            turn.outputs[at] = task.model_copy(update=allowed)
    turn.update(spent_micro_usd=spent, holds=tuple(holds.values()))


def left(hold: Hold) -> int:
    """What the node may still spend."""
    return max(0, hold.allowance_micro_usd - hold.spent_micro_usd)


def _kept(conversation: Conversation) -> tuple[dict[tuple[str, str], Hold], int]:
    """The holds of nodes that may still spend, and what has been spent, with what was written off."""
    run = conversation.run
    nodes = run.nodes if run is not None else {}
    kept: dict[tuple[str, str], Hold] = {}
    abandoned: list[Hold] = []
    for hold in conversation.holds:
        mine = run is not None and hold.run_id == run.run_id
        is_open = mine and hold.node_id in nodes and nodes[hold.node_id].phase in OPEN
        if hold.attempt > hold.counted or is_open:
            kept[hold.run_id, hold.node_id] = hold
            if not mine:
                abandoned.append(hold)
    lost = abandoned[: max(0, len(abandoned) - MAX_ABANDONED)]
    for hold in lost:
        del kept[hold.run_id, hold.node_id]
    return kept, conversation.spent_micro_usd + sum(map(left, lost))


def _find(holds: tuple[Hold, ...], run_id: str, node_id: str) -> Hold | None:
    return next((hold for hold in holds if hold.run_id == run_id and hold.node_id == node_id), None)
