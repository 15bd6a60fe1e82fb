"""The log as rows for people: a batch of events and the position behind it, in one transaction or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

import asyncpg

from connectors.postgres.errors import OvertakenError, in_words
from connectors.postgres.pool import Connection, Pool
from connectors.postgres.rows import said_by
from connectors.postgres.table import Row
from connectors.postgres.tables import TABLES
from connectors.postgres.values import clean_text
from schemas.base import Event
from schemas.events import NodeFinished, RunFinished

Partition = tuple[str, int]
"""Topic and partition number."""

_TAKE = """
INSERT INTO projection_offsets AS o (topic, partition, next_offset, fence)
SELECT topic, partition, 0, 1 FROM unnest($1::text[], $2::integer[]) AS p (topic, partition) ORDER BY topic, partition
ON CONFLICT (topic, partition) DO UPDATE SET fence = o.fence + 1
RETURNING topic, partition, next_offset, fence
"""
# Rows and positions are lost together or not at all, and made again from the log: no batch need wait for the disk.
_DO_NOT_WAIT = "SET LOCAL synchronous_commit = off"
_LOCK = """
SELECT topic, partition, next_offset, fence FROM projection_offsets
WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::integer[])) ORDER BY topic, partition FOR UPDATE
"""
_MOVE = """
UPDATE projection_offsets AS o SET next_offset = n.next_offset
FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS n (topic, partition, next_offset)
WHERE o.topic = n.topic AND o.partition = n.partition
"""
# A finished run's trace and text tokens, from its nodes. Runs of which a node or the end is in the batch are settled
# again, so that it does not matter which of the two a batch boundary falls between.
_SETTLE = """
UPDATE workflow_executions AS run
SET trace = nodes.trace, input_text_tokens = nodes.input_text_tokens, output_text_tokens = nodes.output_text_tokens
FROM (
    SELECT run_id,
           sum(input_text_tokens) AS input_text_tokens,
           sum(output_text_tokens) AS output_text_tokens,
           jsonb_agg(jsonb_build_object(
               'node', node_id, 'agent', agent, 'status', status, 'duration_ms', duration_ms, 'attempts', attempts,
               'cost_usd', cost_usd, 'tools', tools, 'models', models, 'error', error, 'reason', reason
           ) ORDER BY finished_at, node_id) AS trace
    FROM agent_executions WHERE run_id = ANY($1::text[]) AND status IS NOT NULL GROUP BY run_id
) AS nodes
WHERE run.run_id = nodes.run_id AND run.status IS NOT NULL
"""
_REBUILDABLE = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
  AND obj_description(c.oid, 'pg_class') LIKE 'rebuildable%'
ORDER BY c.relname
"""
_THE_EVENTS_FAULT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,  # asyncpg's own, for a value that does not fit its column's type
    ArithmeticError,
    TypeError,
)
"""What is said to a row that Postgres can never hold. Everything else is a fault of the database or of ours, and stops us."""


Rejected = Callable[[Event, str], Awaitable[None]]
"""(event, reason in words)."""


class PostgresProjection:
    """Implements the projector's port (streams.projector.Projection). One instance a process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._taken: dict[Partition, tuple[int, int]] = {}
        """Partition → (next offset, fence) as we know them. What the database has instead is somebody else's work."""

    async def positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Take the partitions over, and say where to go on; what was never begun is left out.

        From now on no earlier owner can write.
        """
        topics, numbers = _columns(partitions)
        with in_words("copying the log into Postgres cannot begin"):
            rows = await self._pool.fetch(_TAKE, topics, numbers)
        taken = {(row["topic"], row["partition"]): (row["next_offset"], row["fence"]) for row in rows}
        self._taken.update(taken)
        return {partition: next_offset for partition, (next_offset, _) in taken.items() if next_offset}

    async def apply(self, events: Sequence[Event], positions: Mapping[Partition, int], *, rejected: Rejected) -> None:
        """Write what `events` say, in their order, and move `positions` (partition → offset of its next record).

        An event whose rows Postgres can never hold is told to `rejected`, before the positions move, and left out.
        Raises OvertakenError when another owner has taken one of the partitions; then nothing was written.
        """
        topics, numbers = _columns(positions)
        with in_words("a batch was not copied into Postgres"):
            await self._apply(events, positions, topics, numbers, rejected)
        for partition, next_offset in positions.items():
            self._taken[partition] = (next_offset, self._taken[partition][1])

    async def _apply(
        self,
        events: Sequence[Event],
        positions: Mapping[Partition, int],
        topics: Sequence[str],
        numbers: Sequence[int],
        rejected: Rejected,
    ) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_DO_NOT_WAIT)
            self._check(positions, await connection.fetch(_LOCK, topics, numbers))
            await _write(connection, events, rejected)
            await connection.execute(
                _MOVE, topics, numbers, [positions[partition] for partition in zip(topics, numbers, strict=True)]
            )
        for partition, next_offset in positions.items():
            self._taken[partition] = (next_offset, self._taken[partition][1])

    def _check(self, positions: Iterable[Partition], rows: Iterable[asyncpg.Record]) -> None:
        found = {(row["topic"], row["partition"]): (row["next_offset"], row["fence"]) for row in rows}
        for partition in positions:
            if found.get(partition) != self._taken.get(partition):
                topic, number = partition
                raise OvertakenError(
                    f"{topic}-{number} is being copied into Postgres by another projector, or was reset by a rebuild: "
                    "this one stops, and can be started again"
                )


async def rebuildable(pool: Pool) -> list[str]:
    """The tables that a rebuild empties: those that say so in their comment."""
    return [row["relname"] for row in await pool.fetch(_REBUILDABLE)]


async def progress(pool: Pool) -> dict[Partition, int]:
    """Partition → the next offset that will be copied. Takes nothing over."""
    with in_words("how far the log has been copied cannot be told"):
        rows = await pool.fetch("SELECT topic, partition, next_offset FROM projection_offsets")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def reset(pool: Pool) -> list[str]:
    """Empty every rebuildable table and go back to the beginning of the log; running projectors stop at their next batch.

    What retention has already deleted from the log is gone from the rows too.
    """
    async with pool.acquire() as connection, connection.transaction():
        # First the offsets, as a batch does it: a reset waits for the batches in flight and cannot deadlock with them.
        await connection.execute("LOCK TABLE projection_offsets IN EXCLUSIVE MODE")
        await connection.execute("UPDATE projection_offsets SET next_offset = 0, fence = fence + 1")
        names = [row["relname"] for row in await connection.fetch(_REBUILDABLE)]
        if names:
            await connection.execute("TRUNCATE " + ", ".join(f'"{name}"' for name in names))
    return names


async def _write(connection: Connection, events: Sequence[Event], rejected: Rejected) -> None:
    try:
        async with connection.transaction():
            await _upsert(connection, events)
        return
    except _THE_EVENTS_FAULT as error:
        if len(events) == 1:
            # asyncpg's own errors quote the value, which may be a customer's words.
            fault = (isinstance(error, asyncpg.PostgresError) and error.message) or "a value does not fit its column"
            await rejected(events[0], f"Postgres cannot hold this {events[0].TYPE}: {fault}")
            return
    # Halving finds a few bad events among thousands in a few dozen statements.
    half = len(events) // 2
    await _write(connection, events[:half], rejected)
    await _write(connection, events[half:], rejected)


async def _upsert(connection: Connection, events: Sequence[Event]) -> None:
    said = fold(events)
    for table in TABLES:
        if rows := said.get(table.name):
            await connection.execute(table.statement, *table.arrays(rows))
    if runs := sorted({clean_text(event.run_id) for event in events if isinstance(event, NodeFinished | RunFinished)}):
        await connection.execute(_SETTLE, runs)


def fold(events: Iterable[Event]) -> dict[str, list[Row]]:
    """Table name → one row a key, ordered by key, with everything the events say about it."""
    rows: dict[str, dict[tuple[object, ...], Row]] = {}
    for event in events:
        for table, row in said_by(event):
            of_table = rows.setdefault(table.name, {})
            key = table.key_of(row)
            of_table[key] = table.merge(of_table[key], row) if key in of_table else row
    return {name: [of_table[key] for key in sorted(of_table)] for name, of_table in rows.items()}


def _columns(partitions: Iterable[Partition]) -> tuple[list[str], list[int]]:
    ordered = sorted(partitions)
    return [topic for topic, _ in ordered], [number for _, number in ordered]
