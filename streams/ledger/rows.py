"""Rows of the ledger's tables as they lie in their changelogs. Pure: bytes to rows, and a reason for what is none."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.bounds import END_OF_TIME_MS
from schemas.codec.positional import whole
from schemas.events.ledger import HOUR_MS
from schemas.topics import DAY_MS, LEDGER_SEEN, LEDGER_SOURCES
from streams.ledger.fold import KINDS_OF, TOTAL_FIELDS, RowKey, Total, dimensions
from streams.ledger.seen import PAGE, WIDTH

AHEAD_MS = 2 * DAY_MS
"""How far a row's hour may be ahead of its record: an event may be a day ahead of its own, whose writer's clock is another."""
KEY_BYTES = 16 * 1024
"""More than any key of ours has: what keys are made of is cut off at TOO_MANY characters."""
LARGEST = 2**63 - 1
"""Of what a row adds up, for Avro and Postgres have no room for more; of times END_OF_TIME_MS."""

_read_key = msgspec.msgpack.Decoder(tuple[Any, ...]).decode
_read_total = msgspec.msgpack.Decoder(Total).decode


class NoRow(ValueError):
    """The key is that of no row of this table."""


class NoValue(ValueError):
    """The key is that of a row, and the value is none."""


def key_of(table: str, data: bytes | None, *, partition: int, timestamp_ms: int) -> RowKey:
    """The key of a row, or of a page of ids, that belongs to this partition of the table. Raises NoRow."""
    if data is not None and len(data) > KEY_BYTES:
        raise NoRow(f"its key has {len(data):,} bytes")
    try:
        key = _read_key(data or b"")
    except (ValueError, RecursionError) as error:
        raise NoRow(f"its key cannot be read: {error}") from None
    if len(key) < 3 or type(key[0]) is not int or key[0] != partition:
        raise NoRow("its key does not begin with its partition")
    if table == LEDGER_SEEN:
        if len(key) != 3 or key[1] not in LEDGER_SOURCES or type(key[2]) is not int or key[2] < 0:
            raise NoRow("its key is not that of a page: partition, source, number")
        return key
    _, hour, kind, *named = key
    if type(kind) is not str or kind not in KINDS_OF[table] or len(named) != len(dimensions(kind)):
        raise NoRow("its key is not that of a row: partition, hour, kind and what the kind is broken down by")
    if any(type(text) is not str for text in named) or type(hour) is not int:
        raise NoRow("its key names something that is no text, or an hour that is no number")
    if not 0 <= hour * HOUR_MS <= timestamp_ms + AHEAD_MS:
        raise NoRow(f"its hour {hour} lies after its record")
    return key


def total_of(data: bytes) -> Total:
    """A row's value. Raises NoValue."""
    try:
        total = _read_total(whole(data, TOTAL_FIELDS))
    except (ValueError, RecursionError) as error:
        raise NoValue(f"its value cannot be read: {error}") from None
    if total.last_offset < 0 or not sound(total):
        raise NoValue("its value has a number that nobody counted")
    return total


def page_of(data: bytes) -> bytes:
    """Ids of a run of offsets. Raises NoValue."""
    if len(data) != PAGE * WIDTH:
        raise NoValue(f"a page has {PAGE * WIDTH} bytes, it has {len(data)}")
    return data


def sound(total: Total) -> bool:
    """Whether this can be what was counted."""
    return min(total.count, total.errors, *total.latency.values()) >= 0 and within(total)


def within(total: Total) -> bool:
    """Whether every sum has room everywhere it goes: in the changelog, in a rollup, in Postgres."""
    summed = (
        total.cost_micro_usd,
        total.input_text_tokens,
        total.cached_text_tokens,
        total.cache_write_text_tokens,
        total.output_text_tokens,
        total.reasoning_text_tokens,
        total.latency_ms,
        total.last_ms,
    )
    return min(summed) >= 0 and max(summed) <= LARGEST and max(total.latency_ms, total.last_ms) <= END_OF_TIME_MS
