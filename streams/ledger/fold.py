"""What one event adds to which row. Pure: a row is a function of its partition's events up to `last_offset`, and of nothing else.

So a row is right whoever wrote it, and an event that comes again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schemas import topics
from schemas.base import Event
from schemas.events import ActionUsed, ModelCalled, NodeFinished, NodeStatus, RollupChanged, RunFinished
from schemas.events.ledger import HOUR_MS
from schemas.ids import derive
from schemas.sketch import as_json, bucket

RowKey = tuple[Any, ...]
"""(source partition, hour since 1970, kind, dimensions …): text but for the first two."""


class Total(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The value of a row: everything counted so far."""

    last_offset: int = -1
    last_ms: int = 0
    """The latest time of an event counted here."""
    count: int = 0
    errors: int = 0
    cost_micro_usd: int = 0
    input_text_tokens: int = 0
    cached_text_tokens: int = 0
    cache_write_text_tokens: int = 0
    output_text_tokens: int = 0
    reasoning_text_tokens: int = 0
    latency_ms: int = 0
    latency: dict[int, int] = {}


EMPTY = Total()

_NAMES: Mapping[str, tuple[str, ...]] = {
    "calls": ("model", "provider", "profile", "agent", "workflow", "node_id", "outcome"),
    "actions": ("app", "action", "outcome"),
    "nodes": ("agent", "node_id", "outcome"),
    "runs": ("workflow", "outcome"),
}
"""Kind of row → what it is broken down by."""
TABLE_OF: Mapping[str, str] = {
    "calls": topics.LEDGER_CALLS,
    "actions": topics.LEDGER_ACTIONS,
    "nodes": topics.LEDGER_ENDINGS,
    "runs": topics.LEDGER_ENDINGS,
}
"""Kind of row → the changelog of the table it is in."""
KINDS_OF: Mapping[str, frozenset[str]] = {
    table: frozenset(kind for kind, name in TABLE_OF.items() if name == table) for table in TABLE_OF.values()
}
"""The changelog of a table → the kinds of row in it."""
TOTAL_FIELDS = 12
"""How many fields a total had when there were the fewest."""
TOO_MANY = 200
"""Characters of a dimension that are kept: names come from files and providers, and a row's key must stay a key."""


def dimensions(kind: str) -> tuple[str, ...]:
    """What rows of a kind are broken down by, in the order of their keys."""
    return _NAMES[kind]


def row_of(event: Event, partition: int) -> RowKey | None:
    """The row that counts this event; None when nobody counts it."""
    name = _NAMED.get(type(event))
    named = name(event) if name is not None else None
    return None if named is None else (partition, event.time_ms // HOUR_MS, *(text[:TOO_MANY] for text in named))


def fold(total: Total | None, event: Event, offset: int) -> Total:
    """The row after the event at `offset`. The same total when it is counted already. `row_of` must have named its row."""
    before = EMPTY if total is None else total
    return before if offset <= before.last_offset else _FOLDED[type(event)](before, event, offset)


def rollup(key: RowKey, total: Total) -> RollupChanged:
    """What others are told of a row. Its id says which state of which row it is."""
    partition, hour, kind, *values = key
    fields = dict(zip(_NAMES[kind], values, strict=True))
    return RollupChanged(
        id=derive("rollup", kind, partition, hour, *values, total.last_offset),
        time_ms=total.last_ms,
        conversation_id="",
        kind=kind,
        source_partition=partition,
        last_offset=total.last_offset,
        hour_ms=hour * HOUR_MS,
        count=total.count,
        errors=total.errors,
        cost_micro_usd=total.cost_micro_usd,
        input_text_tokens=total.input_text_tokens,
        cached_text_tokens=total.cached_text_tokens,
        cache_write_text_tokens=total.cache_write_text_tokens,
        output_text_tokens=total.output_text_tokens,
        reasoning_text_tokens=total.reasoning_text_tokens,
        latency_ms=total.latency_ms,
        latency=as_json(total.latency),
        **fields,
    )


def _call(event: ModelCalled) -> tuple[str, ...]:
    outcome = event.outcome or ("ok" if event.success else "error")
    return ("calls", event.model, event.provider, event.profile, event.agent, event.workflow, event.node_id, outcome)


def _action(event: ActionUsed) -> tuple[str, ...]:
    return ("actions", event.app, event.action, "ok" if event.success else "error")


def _node(event: NodeFinished) -> tuple[str, ...] | None:
    """A node that was skipped has not been executed. One that failed for no fault of its agent has a row of its own."""
    outcome = event.status.value if not event.fault else f"{event.status.value}:{event.fault}"
    return None if event.status is NodeStatus.SKIPPED else ("nodes", event.agent, event.node_id, outcome)


def _run(event: RunFinished) -> tuple[str, ...]:
    return ("runs", f"{event.workflow}@{event.version}", event.status)


_NAMED: Mapping[type[Event], Callable[[Any], tuple[str, ...] | None]] = {
    ModelCalled: _call,
    ActionUsed: _action,
    NodeFinished: _node,
    RunFinished: _run,
}


def _count_call(before: Total, event: ModelCalled, offset: int) -> Total:
    return Total(
        offset,
        max(before.last_ms, event.time_ms),
        before.count + 1,
        before.errors + (not event.success),
        before.cost_micro_usd + event.cost_micro_usd,
        before.input_text_tokens + event.input_text_tokens,
        before.cached_text_tokens + event.cached_text_tokens,
        before.cache_write_text_tokens + event.cache_write_text_tokens,
        before.output_text_tokens + event.output_text_tokens,
        before.reasoning_text_tokens + event.reasoning_text_tokens,
        before.latency_ms + event.latency_ms,
        _timed(before.latency, event.latency_ms),
    )


def _counted(failed: Callable[[Any], bool], took_ms: Callable[[Any], int]) -> Callable[[Total, Any, int], Total]:
    def count(before: Total, event: Event, offset: int) -> Total:
        took = took_ms(event)
        return Total(
            last_offset=offset,
            last_ms=max(before.last_ms, event.time_ms),
            count=before.count + 1,
            errors=before.errors + failed(event),
            latency_ms=before.latency_ms + took,
            latency=_timed(before.latency, took),
        )

    return count


def _timed(sketch: Mapping[int, int], took_ms: int) -> dict[int, int]:
    at = bucket(took_ms)
    return {**sketch, at: sketch.get(at, 0) + 1}


# Cost and tokens of a node or a run are those of its calls, which are counted as calls: here they would count twice.
_FOLDED: Mapping[type[Event], Callable[[Total, Any, int], Total]] = {
    ModelCalled: _count_call,
    ActionUsed: _counted(lambda event: not event.success, lambda event: event.latency_ms),
    NodeFinished: _counted(lambda event: event.status is NodeStatus.FAILED, lambda event: event.duration_ms),
    RunFinished: _counted(lambda event: event.status == "failed", lambda event: event.duration_ms),
}
