"""What is put is measured at once: what is too large, or cannot be written, fails its record and never a commit."""

from __future__ import annotations

import asyncio

import pytest

from streams.runtime import Outgoing, Publisher, Record, StateTooLarge, Step, TooLarge
from streams.runtime.store import StateStore
from tests.unit.runtime.fakes import FakeBroker, TextCodec, raw
from tests.unit.runtime.test_partition import Appending, opened, until


class Putting:
    """Puts each record's value under its key, and notes what it was told."""

    def __init__(self, key: str | None = None) -> None:
        self.handled: list[int] = []
        self._key = key

    async def handle(self, record: Record, step: Step[str]) -> None:
        assert record.value is not None
        assert record.key is not None
        self.handled.append(record.offset)
        step.put(record.key.decode() if self._key is None else self._key, record.value.decode())


async def test_a_state_that_grows_too_large_sends_its_record_to_dead_letters_and_the_one_before_stays():
    broker, processor = FakeBroker(), Appending()
    async with opened(broker, processor, commit_interval_s=0, max_state_bytes=10) as owner:
        owner.feed([raw(0, "12345"), raw(1, "67890"), raw(2, "6")])
        await until(lambda: len(broker.sent) == 3)
        broker.deliver()
        await until(lambda: owner.log.position == 3 and owner.log.store.get("k") == "123456")
    assert processor.handled == [0, 2], "tried once: it would be as large the next time"


async def test_the_dead_letter_says_how_large_it_was_and_how_large_it_may_be():
    broker = FakeBroker()
    async with opened(broker, Putting(), max_state_bytes=10) as owner:
        owner.feed([raw(0, "1234567890")])
        await until(lambda: bool(broker.sent))
        assert broker.sent[0][0].value == b"state_too_large: the state of 'k' has 11 bytes; 10 may be kept"


@pytest.mark.parametrize("key", ["\ud800", "k" * 100, "\udcff\x00"])
async def test_no_key_fails_a_commit(key: str):
    broker = FakeBroker()
    async with opened(broker, Putting(key), commit_interval_s=0, max_state_bytes=50) as owner:
        owner.feed([raw(0, "v")])
        await until(lambda: bool(broker.sent))
        assert (broker.sent[0][0].value or b"").startswith((b"unwritable: the state of", b"state_too_large: "))
        broker.deliver()
        await until(lambda: bool(broker.commits))
        assert broker.commits == [(1, {})]
        assert broker.failures == []


async def test_an_empty_key_is_a_key():
    broker = FakeBroker()
    async with opened(broker, Putting(""), commit_interval_s=0) as owner:
        owner.feed([raw(0, "v")])
        await until(lambda: bool(broker.commits))
        assert broker.commits == [(1, {b"": b"v"})]


async def test_a_state_that_cannot_be_encoded_fails_its_record_alone():
    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=0) as owner:
        owner.log.store._codec = Refusing()
        owner.feed([raw(0, "bad"), raw(1, "good")])
        await until(lambda: len(broker.sent) == 2)
        broker.deliver()
        await until(lambda: bool(broker.commits))
        assert broker.commits == [(2, {b"k": b"good"})]


class Refusing(TextCodec):
    def encode(self, state: str) -> bytes:
        return (state + "\ud800" if "bad" in state else state).encode()


async def test_a_state_is_encoded_once_for_each_time_it_is_put_and_not_again_at_the_commit():
    class Counting(TextCodec):
        count = 0

        def encode(self, state: str) -> bytes:
            Counting.count += 1
            return super().encode(state)

    broker = FakeBroker()
    async with opened(broker, Appending(), commit_interval_s=0) as owner:
        owner.log.store._codec = Counting()
        owner.feed([raw(0, "a"), raw(1, "b")])
        await until(lambda: len(broker.sent) == 2)
        broker.deliver()
        await until(lambda: bool(broker.commits))
        assert (broker.commits[-1][1], Counting.count) == ({b"k": b"ab"}, 2)


async def test_what_the_changelog_refuses_all_the_same_is_left_out_of_the_commit_and_named_in_a_dead_letter():
    """An operator has made the topic smaller than this processor's bound."""
    broker = FakeBroker(topic_bytes=4)
    async with opened(broker, Putting(), commit_interval_s=0) as owner:
        owner.feed([raw(0, "ok", key="x"), raw(1, "small", key="y"), raw(2, "ok", key="z")])
        await until(lambda: bool(broker.commits))
        assert broker.commits == [(3, {b"x": b"ok", b"z": b"ok"})]
        letter = broker.sent[0][0].value
        assert letter == b"state_too_large: the state of 'y' that it led to is not kept, the one before stays: 5 bytes"
        assert owner.log.get("y") is None
        owner.feed([raw(3, "y", key="y")])
        await until(lambda: len(broker.commits) == 2)
        assert broker.commits[1] == (4, {b"y": b"y"})


async def test_a_journal_entry_that_the_changelog_refuses_fails_its_handler_and_nobody_elses():
    broker, said = FakeBroker(topic_bytes=4), asyncio.Queue[str]()

    async def journal(record: Record, step: Step[str]) -> None:
        assert record.key is not None
        try:
            await step.journal(record.key.decode(), "small" if record.key == b"a" else "ok")
        except StateTooLarge as error:
            said.put_nowait(str(error))

    async with opened(broker, Appending(journal), concurrency=2) as owner:
        owner.feed([raw(0, key="a"), raw(1, key="b")])
        assert await said.get() == "5 bytes"
        assert written(broker) == {b"b": b"ok"}


def written(broker: FakeBroker) -> dict[bytes, bytes | None]:
    return {key: value for _, writes in broker.commits for key, value in writes.items()}


async def test_a_record_that_leads_to_an_event_no_topic_takes_is_a_dead_letter_at_its_first_attempt():
    broker = FakeBroker()
    publisher = Publisher("nowhere:0", max_message_bytes=2_000)
    broker.check = publisher.check  # type: ignore[method-assign]

    async def shout(record: Record, step: Step[str]) -> None:
        if record.offset == 0:
            step.publish(Outgoing("out", b"k", b"!" * 2_000))

    processor = Appending(shout)
    async with opened(broker, processor) as owner:
        owner.feed([raw(0), raw(1)])
        await until(lambda: processor.handled == [1])
        assert (broker.sent[0][0].value or b"").startswith(b"output_too_large: a record for out has 2001 bytes")
    await publisher.abort()


async def test_many_small_headers_count_with_what_they_take_on_the_wire():
    publisher = Publisher("nowhere:0", max_message_bytes=2_000)
    with pytest.raises(TooLarge):
        publisher.check(Outgoing("out", b"k", b"v", (("h", b""),) * 1_000))
    await publisher.abort()


def test_room_for_what_is_to_follow_counts():
    store: StateStore[str] = StateStore(TextCodec(), most=10)
    assert store.encode("k", "12345", spare=4) == b"12345"
    with pytest.raises(StateTooLarge, match="5 more must be left"):
        store.encode("k", "12345", spare=5)
