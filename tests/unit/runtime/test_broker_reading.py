"""What has arrived for a member, and what its own process hands over: always the next records, in order, each once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime import Outgoing
from streams.runtime.broker import fetches as fetches_module
from streams.runtime.broker.arrived import Arrived
from streams.runtime.broker.fetches import Fetches
from streams.runtime.broker.producer import Batch
from streams.runtime.broker.requests import Fetched
from streams.runtime.model import Unreadable
from tests.unit.runtime.test_unpacking import batch as packed

TP = TopicPartition("t", 1)
OTHER = TopicPartition("t", 2)


class Consumer:
    """The member's, as far as its fetching has to be paused."""

    def seek(self, partition: TopicPartition, offset: int) -> None: ...

    def pause(self, partition: TopicPartition) -> None: ...


def batch(*values: bytes) -> Batch:
    made = Batch(10_000)
    for value in values:
        assert made.append(Outgoing("t", b"key", value, (("ce_id", value),), timestamp_ms=1_700_000_000_000))
    return made


def as_fetched(offset: int, *values: bytes) -> Fetched:
    data = bytearray(batch(*values).seal(1, 0, 0))
    data[:8] = offset.to_bytes(8, "big")  # the base offset is not part of the checksum
    return Fetched(TP, 0, offset + len(values), [], bytes(data))


@pytest.fixture
async def fetches() -> Fetches:
    fetching: Any = SimpleNamespace(arrived=Arrived(), read=lambda *_: None, wake=lambda *_: None, forget=lambda *_: None)
    made = Fetches(Consumer(), fetching)
    made.assigned([TP])
    made.seek(TP, 5)
    return made


async def values(fetches: Fetches) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in (await fetches.poll(0)).get(TP, ())]


async def test_what_is_handed_over_equals_what_would_have_been_fetched(fetches: Fetches):
    assert fetches.offer(TP, 5, batch(b"a", b"b"))
    handed_over = (await fetches.poll(0))[TP]
    fetches.seek(TP, 5)
    fetches.take(as_fetched(5, b"a", b"b"), 5)
    assert (await fetches.poll(0))[TP] == handed_over
    assert fetches.position(TP) == fetches.end(TP) == 7


@pytest.mark.parametrize("offset", [3, 4, 6, 100])
async def test_what_does_not_come_next_is_not_taken(fetches: Fetches, offset: int):
    assert not fetches.offer(TP, offset, batch(b"a"))
    assert fetches.position(TP) == 5
    assert await values(fetches) == []


async def test_an_answer_that_was_overtaken_is_dropped(fetches: Fetches):
    fetches.offer(TP, 5, batch(b"a", b"b"))
    fetches.take(as_fetched(5, b"a", b"b"), 5)
    fetches.take(as_fetched(7, b"c"), 7)
    assert await values(fetches) == [(5, b"a"), (6, b"b"), (7, b"c")]


async def test_records_before_the_position_are_left_out(fetches: Fetches):
    fetches.take(as_fetched(3, b"x", b"y", b"a", b"b"), 5)
    assert await values(fetches) == [(5, b"a"), (6, b"b")]


async def test_a_paused_partition_keeps_what_has_arrived(fetches: Fetches):
    fetches.take(as_fetched(5, b"a"), 5)
    fetches.pause(TP)
    assert await values(fetches) == []
    assert not fetches.offer(TP, 6, batch(b"b"))
    fetches.resume(TP)
    assert await values(fetches) == [(5, b"a")]


async def test_no_more_than_asked_for_is_handed_out_and_none_is_lost(fetches: Fetches):
    fetches.take(as_fetched(5, b"a", b"b", b"c"), 5)
    first = await fetches.poll(0, 2)
    assert [record.value for record in first[TP]] == [b"a", b"b"]
    assert await values(fetches) == [(7, b"c")]


async def test_no_more_than_asked_for_is_handed_out_of_all_partitions_together(fetches: Fetches):
    fetches.assigned([TP, OTHER])
    fetches.seek(OTHER, 5)
    fetches.take(as_fetched(5, b"a", b"b"), 5)
    fetches.take(as_fetched(5, b"c", b"d")._replace(partition=OTHER), 5)
    first = await fetches.poll(0, 3)
    assert sum(map(len, first.values())) == 3
    rest = await fetches.poll(0, 3)
    assert sum(map(len, rest.values())) == 1


async def test_what_is_paused_or_not_taken_is_not_asked_for(fetches: Fetches, monkeypatch: pytest.MonkeyPatch):
    assert fetches.wanted(TP) == 5
    fetches.pause(TP)
    assert fetches.wanted(TP) is None
    fetches.resume(TP)
    monkeypatch.setattr(fetches_module, "AHEAD", 2)
    fetches.take(as_fetched(5, b"a", b"b"), 5)
    assert fetches.wanted(TP) is None
    assert len(await values(fetches)) == 2
    assert fetches.wanted(TP) == 7


async def test_who_polls_is_told_why_nothing_will_arrive_any_more(fetches: Fetches):
    fetches.fail(kafka_errors.TopicAuthorizationFailedError("t"))
    with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
        await fetches.poll(0)


async def test_a_partition_that_was_given_away_is_forgotten(fetches: Fetches):
    fetches.take(as_fetched(5, b"a"), 5)
    fetches.assigned([])
    assert fetches.wanted(TP) is None
    assert not fetches.offer(TP, 6, batch(b"b"))


async def test_damaged_records_are_refused(fetches: Fetches):
    whole = as_fetched(5, b"a")
    with pytest.raises(kafka_errors.CorruptRecordException):
        fetches.take(whole._replace(records=whole.records[:-1] + b"\xff"), 5)


async def test_a_position_that_is_gone_ends_reading_with_its_place(fetches: Fetches):
    with pytest.raises(kafka_errors.OffsetOutOfRangeError):
        fetches.take(Fetched(TP, kafka_errors.OffsetOutOfRangeError.errno, -1, [], b""), 5)


async def test_a_batch_nobody_can_read_is_one_record_for_dead_letters_at_its_last_offset(fetches: Fetches):
    bomb = packed(1, b"\0" * 9_000_000, b"\0" * 9_000_000, b"\0" * 9_000_000, b"\0" * 9_000_000)
    fetches.take(as_fetched(5, b"a")._replace(records=bomb), 5)
    fetches.take(as_fetched(9, b"b"), 9)
    stands, after = (await fetches.poll(0))[TP]
    assert isinstance(stands, Unreadable)
    assert stands.offset == 8
    assert "offsets 5 to 8" in stands.reason
    assert (after.offset, after.value) == (9, b"b")


async def test_it_is_the_same_where_a_transaction_was_given_up(fetches: Fetches):
    bomb = packed(1, b"\0" * 9_000_000, b"\0" * 9_000_000, b"\0" * 9_000_000, b"\0" * 9_000_000)
    fetches.take(Fetched(TP, 0, 9, [(77, 0)], bomb), 5)
    [stands] = (await fetches.poll(0))[TP]
    assert isinstance(stands, Unreadable)
    assert fetches.position(TP) == 9


async def test_nothing_more_is_asked_for_or_taken_while_a_partition_has_its_share_and_all_comes_in_the_end(fetches: Fetches):
    arrived = fetches._fetching.arrived
    fetches.take(as_fetched(5, b"a"), 5)
    arrived.add(TP, 6, arrived.most)
    assert fetches.wanted(TP) is None
    fetches.take(as_fetched(6, b"b"), 6)
    assert await values(fetches) == [(5, b"a")], "what had been asked for before is asked for again"
    fetches.handled(TP, 6)
    assert fetches.wanted(TP) == 6
    fetches.take(as_fetched(6, b"b"), 6)
    assert await values(fetches) == [(6, b"b")]
    fetches.handled(TP, 7)
    assert arrived.used == 0


async def test_what_is_sought_again_is_held_once(fetches: Fetches):
    for _ in range(3):
        fetches.take(as_fetched(5, b"a" * 1_000), 5)
        held = fetches._fetching.arrived.used
        fetches.seek(TP, 5)
    assert held < 10_000
    assert fetches._fetching.arrived.used == 0


@pytest.mark.parametrize("aborted", [[], [(77, 0)]], ids=["plain", "beside a transaction that was given up"])
async def test_an_answer_full_of_small_bombs_is_read_a_little_at_a_time_and_whole_in_the_end(
    fetches: Fetches, aborted: list[tuple[int, int]]
):
    """Five batches of 20 kB that stand for 20 MB each."""
    batches = [packed(1, b"\0" * 20_000_000, offset=5 + number) for number in range(5)]
    read, most = 5, 0
    while read < 10:
        fetches.take(Fetched(TP, 0, 10, aborted, b"".join(batches[read - 5 :])), read)
        found = (await fetches.poll(0))[TP]
        most = max(most, sum(len(record.value or b"") for record in found))
        assert [record.offset for record in found] == list(range(read, read + len(found)))
        read = fetches.position(TP)
        fetches.handled(TP, read)
    assert most == 20_000_000
