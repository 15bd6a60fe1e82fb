"""What one worker counts of what it is handed, and what it refuses to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from schemas import topics
from schemas.base import Event
from schemas.bounds import END_OF_TIME_MS
from schemas.codec import decode, encode
from schemas.events import DeadLetter, RunStarted
from streams.ledger.app import TABLES
from streams.ledger.counter import RETENTION_HOURS, Counter
from streams.ledger.fold import Total, rollup
from streams.ledger.rows import total_of
from streams.runtime import Record
from tests.integration.ledger_world import NOON_MS, call, ended

HOUR = 3_600_000


@dataclass
class Desk:
    """A counter over plain dictionaries, which owns partition 0 of every source from its beginning."""

    tables: dict[str, dict[Any, Total]] = field(default_factory=lambda: {name: {} for name in TABLES})
    pages: dict[Any, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counter = Counter(self.tables, self.pages)
        self.counter.take_over(0, dict.fromkeys(topics.LEDGER_SOURCES, 0))

    def count(
        self, offset: int, event: Event | bytes, *, topic: str = topics.ROUTING_DECISIONS, stamp: int | None = None
    ) -> bool:
        value, headers = (event, ()) if isinstance(event, bytes) else encode(event)
        at = stamp if stamp is not None else NOON_MS if isinstance(event, bytes) else event.time_ms
        return self.counter.count(Record(topic, 0, offset, at, b"k", value, tuple(headers)))

    @property
    def cost(self) -> int:
        return sum(total.cost_micro_usd for total in self.tables[topics.LEDGER_CALLS].values())

    def letters(self) -> list[DeadLetter]:
        found = [decode(letter.value, letter.headers) for letter in self.counter.open[0].letters]
        return [letter for letter in found if isinstance(letter, DeadLetter)]


def test_each_event_once_whatever_is_on_the_topic_twice():
    desk = Desk()
    desk.count(0, call(5))
    desk.count(1, call(7))
    desk.count(2, call(5))
    desk.count(3, call(5, cost_micro_usd=999))
    assert desk.cost == 12
    assert desk.counter.open[0].due[topics.ROUTING_DECISIONS] == 4


def test_a_restored_counter_knows_what_is_counted():
    """Rows and pages come back, the position as it was committed before the last few records."""
    desk = Desk()
    for offset in range(6):
        desk.count(offset, call(offset + 1))
    again = Desk(desk.tables, desk.pages)
    again.counter.take_over(0, {**dict.fromkeys(topics.LEDGER_SOURCES, 0), topics.ROUTING_DECISIONS: 3})
    for offset in range(3, 6):
        again.count(offset, call(offset + 1))
    again.count(6, call(2))
    assert again.cost == 1 + 2 + 3 + 4 + 5 + 6


def test_nothing_is_counted_past_a_record_that_was_not_delivered():
    desk = Desk()
    desk.count(0, call(1))
    assert desk.count(2, call(4)) is False, "somebody has to go back"
    assert desk.count(3, call(8)) is True, "once is enough"
    assert desk.cost == 1
    for offset, number in enumerate((1, 2, 4, 8)):
        assert desk.count(offset, call(number)) is True
    assert desk.cost == 15
    assert desk.count(9, call(16)) is False, "the next gap is another"


def test_a_record_of_a_partition_that_was_lost_is_left_to_its_owner():
    desk = Desk()
    desk.counter.let_go(0)
    assert desk.count(0, call(1)) is True
    assert desk.cost == 0


def test_what_is_no_event_of_its_topic_is_buried_and_passed():
    desk = Desk()
    desk.count(0, b"{")
    desk.count(1, b"\xc3\x01" + b"\x07" * 40)
    desk.count(2, ended(1))
    desk.count(3, b"")
    desk.count(4, call(3))
    assert [(letter.offset, letter.code) for letter in desk.letters()] == [
        (0, "unknown_event_type"),
        (1, "unknown_fingerprint"),
        (2, "unknown_event_type"),
        (3, "empty"),
    ]
    assert desk.cost == 3


def test_a_defect_buries_its_record_and_stops_nothing():
    class Broken(dict[Any, Total]):
        def __setitem__(self, key: Any, value: Total) -> None:
            raise ZeroDivisionError("a defect")

    desk = Desk()
    desk.tables[topics.LEDGER_CALLS] = Broken()
    assert desk.count(0, call(3)) is True
    (letter,) = desk.letters()
    assert (letter.code, letter.reason) == ("not_countable", "counting it failed: ZeroDivisionError: a defect")


def test_events_nobody_counts_are_passed_without_being_read():
    desk = Desk()
    started = RunStarted(
        id="s",
        time_ms=NOON_MS,
        conversation_id="c",
        cause_id="c",
        run_id="r",
        message_id="m",
        ordinal=1,
        text="",
        workflow="w",
        version="1.0.0",
        digest="d",
    )
    desk.count(0, started, topic=topics.WORKFLOW_EVENTS)
    desk.count(1, ended(5), topic=topics.WORKFLOW_EVENTS)
    (total,) = desk.tables[topics.LEDGER_ENDINGS].values()
    assert (total.count, total.errors) == (1, 1)
    assert desk.letters() == []


def test_rows_past_their_retention_go_and_their_hours_are_closed():
    desk = Desk()
    desk.count(0, call(1))
    later = NOON_MS + (RETENTION_HOURS + 1) * HOUR
    desk.count(1, call(2, at_ms=later))
    assert desk.cost == 2, "the first hour's row is deleted"
    desk.count(2, call(3))
    assert [letter.code for letter in desk.letters()] == ["too_old"], "else its total would begin again at nothing"


def test_an_event_from_the_future_cannot_close_the_present():
    desk = Desk()
    desk.count(0, call(1))
    desk.count(1, call(2, at_ms=NOON_MS + 10**12), stamp=NOON_MS)
    desk.count(2, call(4))
    assert desk.cost == 5
    assert [letter.code for letter in desk.letters()] == ["time_ahead"]


def test_sums_beyond_64_bits_are_refused_and_what_was_counted_stays():
    """The row could be written nowhere, so its commit would fail, and again after every restart."""
    desk = Desk()
    desk.count(0, call(5))
    desk.count(1, call(9, cost_micro_usd=2**63 - 10))
    desk.count(2, call(93, cost_micro_usd=2**62))
    assert desk.cost == 5 + 2**63 - 10
    assert [(letter.code, letter.offset) for letter in desk.letters()] == [("number_out_of_range", 2)]


def test_an_event_of_the_far_future_closes_no_hour_though_its_record_says_so_too():
    """Some brokers accept any time of a producer."""
    desk = Desk()
    desk.counter = Counter(desk.tables, desk.pages, clock_ms=lambda: NOON_MS)
    desk.counter.take_over(0, dict.fromkeys(topics.LEDGER_SOURCES, 0))
    desk.count(0, call(1, at_ms=NOON_MS + 30 * 24 * HOUR))
    desk.count(1, call(2))
    assert desk.cost == 2
    assert [letter.code for letter in desk.letters()] == ["time_ahead"]


@pytest.mark.parametrize(
    "fields",
    [
        {"latency_ms": END_OF_TIME_MS},
        {"input_text_tokens": -11},
        {"reasoning_text_tokens": 2**63 - 1},
        {"cost_micro_usd": 2**63 - 1},
        {"time_ms": NOON_MS + 999},
    ],
)
def test_whatever_is_counted_can_be_written_and_told_and_restored(fields: dict[str, Any]):
    """Otherwise the commit of its partition would fail, or the row be lost at the next restart."""
    desk = Desk()
    for offset in range(4):
        desk.count(offset, call(5 + 84 * offset).model_copy(update=fields))
    assert len(desk.letters()) + sum(total.count for total in desk.tables[topics.LEDGER_CALLS].values()) == 4
    for key, total in desk.tables[topics.LEDGER_CALLS].items():
        assert total_of(msgspec.msgpack.encode(total)) == total
        event = rollup(key, total)
        assert decode(*encode(event)) == event
