"""Copies a period of a topic into another topic, each record with where it came from. The source is only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.topics import CUSTOMER_MESSAGES, TOPICS
from streams.origin import REPLAY_ID, again
from streams.replay.place import BEGINNING, END, Place
from streams.replay.window import window
from streams.runtime import Outgoing, Publisher, Record, RuntimeFailed
from streams.runtime.reading import partition_counts

BATCH = 500
RESENDABLE = frozenset({CUSTOMER_MESSAGES})
"""The only topics of ours that accept records a second time: their reader knows a repeated message id."""


@dataclass(frozen=True, slots=True)
class Republished:
    records: int
    bytes: int
    left_out: int = 0
    """Records that nobody can write, for they have neither key nor value, or no room for what a copy adds."""


def check_target(source: str, target: str, *, confirmed: str | None) -> None:
    """Raises RuntimeFailed, in words, for a target that would be decided about or paid for twice."""
    if target == source:
        raise RuntimeFailed(f"{source} is not copied into itself: name another topic")
    if target not in TOPICS:
        return
    if target not in RESENDABLE:
        raise RuntimeFailed(
            f"{target} is a topic of this system's own: what is copied into it would count a second time. Name another topic"
        )
    if confirmed != target:
        raise RuntimeFailed(
            f"{target} is read by this system: each copy of a message it no longer remembers is answered again. "
            f"If that is what you want, add --confirm {target}"
        )


async def republish(
    bootstrap: str,
    publisher: Publisher,
    source: str,
    target: str,
    *,
    replay_id: str,
    start: Place = BEGINNING,
    end: Place = END,
    partitions: list[int] | None = None,
    wanted: Callable[[Record], bool] = lambda record: True,
    limit: int | None = None,
    dry_run: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> Republished:
    """Copy what `wanted` keeps, in the order of time; keys decide the partition. Returns once all of it is durable.

    `note` is told what retention has cut off, what lies out of order, and how far a long copy has come.
    """
    records = size = left_out = 0
    waiting: list[Outgoing] = []
    if not dry_run:
        await partition_counts(bootstrap, [target])  # says at once when there is no such topic
    async with window(bootstrap, source, start, end, partitions=partitions, progress=note) as period:
        for cut in period.cuts:
            note(str(cut))
        async for record in period.by_time():
            if not wanted(record):
                continue
            copy = _copy(record, target, replay_id)
            try:
                publisher.check(copy)
            except ValueError as error:
                left_out += 1
                note(f"{record.topic}-{record.partition}@{record.offset} cannot be copied: {error}")
                continue
            records += 1
            size += len(record.value or b"")
            if not dry_run:
                waiting.append(copy)
            if len(waiting) >= BATCH:
                await publisher.send(waiting)
                waiting.clear()
            if records == limit:
                break
        if period.disorder.records:
            note(f"{source}: {period.disorder}")
    if waiting:
        await publisher.send(waiting)
    return Republished(records, size, left_out)


def _copy(record: Record, target: str, replay_id: str) -> Outgoing:
    place = (record.topic, record.partition, record.offset)
    headers = again(record.headers, place, record.timestamp_ms, REPLAY_ID, replay_id)
    return Outgoing(target, record.key, record.value, headers)
