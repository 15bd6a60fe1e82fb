"""What lies in the ledger's changelogs: rows, pages, and whatever else somebody has put there."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events.ledger import HOUR_MS
from schemas.topics import LEDGER_ACTIONS, LEDGER_CALLS, LEDGER_ENDINGS, LEDGER_SEEN, LEDGER_SOURCES
from streams.ledger.fold import Total
from streams.ledger.rows import NoRow, NoValue, key_of, page_of, total_of
from streams.ledger.seen import PAGE, WIDTH
from tests.support.garbage import kinds

NOW_MS = 500_000 * HOUR_MS
CALL = (1, 500_000, "calls", "m", "p", "f", "a", "w", "n", "ok")
encode = msgspec.msgpack.encode


def read(table: str, key: object, at_ms: int = NOW_MS) -> object:
    return key_of(table, encode(key), partition=1, timestamp_ms=at_ms)


def test_rows_and_pages_of_our_own_are_read():
    assert read(LEDGER_CALLS, CALL) == CALL
    assert read(LEDGER_ENDINGS, (1, 3, "runs", "w@1", "completed"))
    assert read(LEDGER_ENDINGS, (1, 3, "nodes", "a", "n", "executed"))
    assert read(LEDGER_ACTIONS, (1, 3, "actions", "shop", "get", "ok"))
    assert read(LEDGER_SEEN, (1, LEDGER_SOURCES[0], 7))
    total = Total(5, NOW_MS, 2, 1, 300, latency_ms=70, latency={-1: 1, 40: 1})
    assert total_of(encode(total)) == total
    assert page_of(bytes(PAGE * WIDTH))


@pytest.mark.parametrize("table", [LEDGER_CALLS, LEDGER_ACTIONS, LEDGER_ENDINGS, LEDGER_SEEN])
def test_garbage_is_no_row_whatever_it_is(table: str):
    for piece in kinds():
        with pytest.raises((NoRow, NoValue)):
            key_of(table, piece.key, partition=1, timestamp_ms=NOW_MS)
            (page_of if table == LEDGER_SEEN else total_of)(piece.value or b"")


def test_a_key_that_no_commit_has_room_for_is_none():
    with pytest.raises(NoRow, match="bytes"):
        read(LEDGER_CALLS, (*CALL[:3], "m" * 9_000_000, *CALL[4:]))


def test_a_row_of_another_partition_or_of_the_future_is_none():
    """One of the future would close the hours of all that is counted now, for good."""
    with pytest.raises(NoRow, match="partition"):
        read(LEDGER_CALLS, (0, *CALL[1:]))
    with pytest.raises(NoRow, match="after its record"):
        read(LEDGER_CALLS, (1, 2**40, *CALL[2:]))


@pytest.mark.parametrize("bad", [Total(), Total(1, cost_micro_usd=-1), Total(1, cost_micro_usd=2**63), Total(1, latency={3: -1})])
def test_sums_that_nobody_added_up_are_no_value(bad: Total):
    with pytest.raises(NoValue):
        total_of(encode(bad))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_a_row_or_refused(key: bytes, value: bytes):
    for table in (LEDGER_CALLS, LEDGER_SEEN):
        for read_it in (lambda table=table: key_of(table, key, partition=0, timestamp_ms=0), lambda: total_of(value)):
            with suppress(NoRow, NoValue):
                read_it()
