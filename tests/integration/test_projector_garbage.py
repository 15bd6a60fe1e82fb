"""What nobody planned for: records that are no events, and texts that Postgres refuses."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.projection import PostgresProjection, reset
from schemas import topics
from schemas.base import Event
from streams.projector import PROJECTED
from streams.runtime import Record
from tests.integration.projector_log import Letters, everything, records, run, small_log, started
from tests.support.garbage import Garbage, kinds

pytestmark = pytest.mark.postgres

_TOO_LONG = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
"""More than an index entry takes, however it is compressed."""


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    yield pool
    await pool.close()


async def _apply(pool: Pool, events: list[Event]) -> list[tuple[Event, str]]:
    """Apply events that need not have come over a wire; what was rejected."""
    rejected: list[tuple[Event, str]] = []

    async def reject(event: Event, reason: str) -> None:
        rejected.append((event, reason))

    projection = PostgresProjection(pool)
    await projection.positions([(topics.WORKFLOW_EVENTS, 0)])
    await projection.apply(events, {(topics.WORKFLOW_EVENTS, 0): len(events)}, rejected=reject)
    return rejected


async def test_records_that_are_no_events_are_told_and_passed(pool: Pool) -> None:
    log = records(topics.WORKFLOW_EVENTS, run("ann", 1))
    for at, value in ((1, b"\xc3\x01nonsense"), (2, b"not json"), (3, b"\x00")):
        log.insert(at, replace(log[0], value=value))
    log = [replace(record, offset=at) for at, record in enumerate(log)]
    letters = Letters()
    await (await started(pool, log, letters=letters)).handle(log)
    assert [(letter.processor, letter.topic, letter.offset) for letter in letters.seen] == [
        ("hil.projector", topics.WORKFLOW_EVENTS, offset) for offset in (1, 2, 3)
    ]
    assert all(letter.code and letter.reason for letter in letters.seen)
    assert len((await everything(pool))["messages"]) == 2
    assert await pool.fetchval("SELECT next_offset FROM projection_offsets") == 8


@pytest.mark.parametrize("topic", sorted(PROJECTED))
async def test_garbage_of_every_kind_harms_no_row_of_anybody_elses(pool: Pool, topic: str) -> None:
    """Also events that can be read and that no table has room for: numbers, times and texts at the ends of their types."""
    honest = [record for record in small_log() if record.topic == topic]
    assert honest
    pieces = kinds()
    half = len(pieces) // 2
    log = [*map(_lying(topic), pieces[:half]), *honest, *map(_lying(topic), pieces[half:])]
    log = [replace(record, partition=0, offset=at) for at, record in enumerate(log)]
    await (await started(pool, honest)).handle([replace(record, partition=0, offset=at) for at, record in enumerate(honest)])
    before = await everything(pool)
    await reset(pool)
    await (await started(pool, log, letters=Letters())).handle(log)
    assert await pool.fetchval("SELECT max(next_offset) FROM projection_offsets") == len(log)
    after = await everything(pool)
    for table, rows in before.items():
        if table != "projection_offsets":
            assert [row for row in rows if row not in after[table]] == [], table


def _lying(topic: str) -> Callable[[Garbage], Record]:
    def record(piece: Garbage) -> Record:
        headers = tuple((str(name), value) for name, value in piece.headers)
        return Record(topic, 0, 0, piece.timestamp_ms or 5, piece.key, piece.value, headers)  # type: ignore[arg-type]

    return record


async def test_a_broken_dead_letter_is_logged_and_not_sent_round_again(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    log = [replace(small_log()[0], topic=topics.DEAD_LETTERS, value=b"{")]
    letters = Letters()
    with caplog.at_level(logging.WARNING):
        await (await started(pool, log, letters=letters)).handle(log)
    assert letters.seen == []
    assert "dead-letters-0-0" in caplog.text


async def test_an_event_postgres_can_never_hold_becomes_a_dead_letter(pool: Pool) -> None:
    log = records(topics.WORKFLOW_EVENTS, [*run("ann", 1), run("bob", 1)[0].model_copy(update={"run_id": _TOO_LONG})])
    letters = Letters()
    await (await started(pool, log, letters=letters)).handle(log)
    assert [(letter.code, letter.offset) for letter in letters.seen] == [("not_projectable", 5)]
    assert len((await everything(pool))["messages"]) == 2


async def test_tombstones_say_nothing(pool: Pool) -> None:
    log = [replace(small_log()[0], topic=topics.WORKFLOW_DEFINITIONS, value=None)]
    letters = Letters()
    await (await started(pool, log, letters=letters)).handle(log)
    assert letters.seen == []
    assert await pool.fetchval("SELECT next_offset FROM projection_offsets") == 1


@pytest.mark.parametrize(
    "text",
    [
        "nul \0 inside",
        "half \ud800 a pair",
        "\udfff",
        "\\u0000",
        "👩‍👩‍👧 ‮rtl‬ é",
        "'; DROP TABLE messages; --",
        "{}",
        "x" * 200_000,
        "",
    ],
    ids=["nul", "high surrogate", "low surrogate", "escaped nul", "unicode", "sql", "braces", "long", "empty"],
)
async def test_any_text_is_kept_with_what_postgres_cannot_hold_replaced(pool: Pool, text: str) -> None:
    started_, requested, skipped, finished, ended = run("ann", 1, question=text, answer=text)
    finished = finished.model_copy(update={"output": {text: [text, {"deep": text}]}, "steps": [text], "error": text})
    conversation = f"ann {text}"[:200]
    events = [
        event.model_copy(update={"conversation_id": conversation}) for event in (started_, requested, skipped, finished, ended)
    ]
    assert await _apply(pool, events) == []
    expected = text.replace("\0", "\ufffd").replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    assert [row["text"] for row in await pool.fetch("SELECT text FROM messages")] == [expected, expected]
    output = await pool.fetchval("SELECT output FROM agent_executions WHERE node_id = 'answer'")
    assert json.loads(output) == {expected: [expected, {"deep": expected}]}


async def test_numbers_and_depths_that_json_in_postgres_has_no_room_for(pool: Pool) -> None:
    deep: list[object] = []
    for _ in range(50_000):
        deep = [deep]
    events = run("ann", 1)
    events[3] = events[3].model_copy(
        update={"output": {"nan": float("nan"), "inf": [float("-inf")], "big": 10**400}, "steps": deep}
    )
    assert await _apply(pool, events) == []
    row = await pool.fetchrow("SELECT output, steps FROM agent_executions WHERE node_id = 'answer'")
    assert row is not None
    assert json.loads(row["output"]) == {"nan": None, "inf": [None], "big": 10**400}
    assert json.loads(row["steps"]) == {"not_stored": "nested too deeply"}
    del events
    while deep:  # unnest by hand: dropping it at once would recurse
        deep = deep[0]  # type: ignore[assignment]


async def test_what_postgres_can_never_hold_is_rejected_alone(pool: Pool) -> None:
    """A number beyond 64 bits, a key longer than an index entry: the thousand events around them are written."""
    events = [event for turn in range(1, 201) for event in run("ann", turn)]
    too_large = run("bob", 1)[0].model_copy(update={"ordinal": 2**63})
    too_long = run("eve", 1)[0].model_copy(update={"run_id": _TOO_LONG})
    events[300:300] = [too_large]
    events[700:700] = [too_long]
    rejected = await _apply(pool, events)
    assert [event.conversation_id for event, _ in rejected] == ["bob", "eve"]
    assert all(reason.startswith("Postgres cannot hold this hil.run.started") for _, reason in rejected)
    assert "9223372036854775808" not in rejected[0][1], "values stay out of reasons"
    assert len((await everything(pool))["messages"]) == 400


async def test_times_beyond_the_calendar_are_its_end(pool: Pool) -> None:
    events = [event.model_copy(update={"time_ms": 10**18}) for event in run("ann", 1)]
    assert await _apply(pool, events) == []
    assert await pool.fetchval("SELECT extract(year FROM max(time)) FROM messages") == 9999
