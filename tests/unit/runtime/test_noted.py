"""Where a partition goes on: the group's offset and what its changelog notes, and when neither will do."""

from __future__ import annotations

from typing import Any

import pytest

from streams.runtime.noted import KEY, Identity, Noted, place, read
from streams.runtime.store import StateStore
from tests.unit.runtime.fakes import FakeBroker, TextCodec, raw
from tests.unit.runtime.test_partition import Appending, opened, until

OLD_ID, NEW_ID = b"o" * 16, b"n" * 16


def where(committed: int | None, noted: Noted | None, *, states: int = 1, bounds: tuple[int, int] = (0, 100), **now: Any) -> int:
    return place("g", "t", 0, committed=committed, noted=noted, states=states, bounds=bounds, now=Identity(**now))


@pytest.mark.parametrize(
    ("committed", "noted", "position"),
    [
        (7, Noted(7), 7),
        (7, None, 7),
        (None, Noted(7), 7),
        (3, Noted(7), 7),
        (9, Noted(7), 9),
    ],
    ids=["both say the same", "no note: an older version", "no offset: it has expired", "put back", "moved on"],
)
def test_it_goes_on_where_the_later_of_both_stands(committed: int | None, noted: Noted | None, position: int):
    assert where(committed, noted) == position


def test_who_has_nothing_begins_at_the_beginning():
    assert where(None, None, states=0, bounds=(5, 100)) == 5


def test_states_without_any_position_are_no_beginning():
    with pytest.raises(ValueError, match=r"has 1 states of t-0 and no position.*hil positions repair g t --to changelog"):
        where(None, None)


@pytest.mark.parametrize("committed", [None, 7])
def test_another_topic_of_the_same_name_is_refused(committed: int | None):
    with pytest.raises(ValueError, match="created anew"):
        where(committed, Noted(7, 3, OLD_ID), partitions=3, topic_id=NEW_ID)


def test_partitions_that_were_added_are_refused():
    with pytest.raises(ValueError, match=r"had 3 partitions and has 6.*recovery.md"):
        where(7, Noted(7, 3, OLD_ID), partitions=6, topic_id=OLD_ID)


def test_what_a_broker_does_not_say_is_no_difference():
    assert where(7, Noted(7, 3, OLD_ID)) == 7
    assert where(7, Noted(7), partitions=3, topic_id=NEW_ID) == 7


def test_a_position_beyond_the_end_is_refused():
    with pytest.raises(ValueError, match="it ends at 100"):
        where(101, None)


def test_what_retention_has_taken_is_passed():
    assert where(3, Noted(3), bounds=(50, 100)) == 50


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"\x93\xa1a\x01\x02", b"{}", None])
def test_a_note_that_is_none_counts_as_none(garbage: bytes | None):
    assert read(garbage) is None


def test_no_processor_sees_the_note_and_it_is_kept_beside_the_states():
    store: StateStore[str] = StateStore(TextCodec())
    store.load(KEY, Noted(7, 3, OLD_ID).encode())
    store.load(b"k", b"v")
    assert list(store.items()) == [("k", "v")]
    assert len(store) == 1
    assert store.noted == Noted(7, 3, OLD_ID)


async def test_a_group_whose_offset_has_expired_handles_nothing_again():
    broker, processor = FakeBroker(changelog={b"k": b"known", KEY: Noted(5).encode()}), Appending()
    async with opened(broker, processor):
        assert "seek 5" in broker.happened


async def test_a_fresh_partition_notes_where_it_begins_before_its_first_state_is_durable():
    """A journal entry is durable before any position is: a crash after it must not look like an expired offset."""
    broker = FakeBroker()
    async with opened(broker, Appending()):
        assert broker.noted == Noted(0)
        assert broker.commits == []


async def test_what_was_noted_is_known_to_who_keeps_the_states():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=0) as owner:
        owner.feed([raw(0), raw(1)])
        await until(lambda: len(broker.sent) == 2)
        broker.deliver()
        await until(lambda: bool(broker.commits))
        assert owner.log.store.noted == Noted(2)
