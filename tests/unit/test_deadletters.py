"""A record nobody can handle is kept, whatever it is."""

from __future__ import annotations

import base64
import json

import pytest

from schemas.events import DeadLetter
from streams.deadletters import KEPT_BYTES, dead_letter
from streams.runtime import Record
from streams.wire import incoming


def letter_of(record: Record) -> DeadLetter:
    out = dead_letter(record, "hil.intake", "invalid_json", "it ends too early", 1)
    assert len(out.value or b"") < 1_000_000
    assert len(out.key or b"") < 10_000
    return incoming(Record(out.topic, 0, 0, 0, out.key, out.value, out.headers), DeadLetter)


def record(value: bytes | None = b"{", key: bytes | None = b"k", headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record("customer.messages", 3, 7, 1_000, key, value, headers)


@pytest.mark.parametrize(
    "strange",
    [
        record(value=None, key=None),
        record(value=b"\xff\x00" * 4_000_000),
        record(key=b"\xff" * 1_000_000),
        record(headers=tuple((f"h{number}", b"\xff" * 10_000) for number in range(700))),
        record(headers=(("n" * 1_000_000, b"\x00" * 1_000_000),)),
        record(value=b"[" * 300_000),
        record(value=json.dumps({"conversation_id": "\ud800"}).encode()),
        record(value=json.dumps({"conversation_id": "c" * 200_000}).encode()),
    ],
    ids=["nothing", "large", "large key", "many headers", "large header", "deep", "surrogate", "long conversation"],
)
def test_a_letter_always_fits_on_its_topic(strange: Record):
    letter = letter_of(strange)
    assert (letter.topic, letter.partition, letter.offset) == ("customer.messages", 3, 7)
    assert letter.payload_bytes == len(strange.value or b"")
    assert base64.b64decode(letter.payload_base64) == (strange.value or b"")[:KEPT_BYTES]


def test_a_reason_that_quotes_what_no_text_can_have_is_kept_as_far_as_it_is_text():
    """A handler's error may quote half a character; the letter about it must be written all the same."""
    out = dead_letter(record(), "hil.intake", "handler_failed", "no such key: \ud800!", 1)
    assert incoming(Record(out.topic, 0, 0, 0, out.key, out.value, out.headers), DeadLetter).reason == "no such key: ?!"


def test_a_letter_has_the_same_id_each_time():
    assert letter_of(record()).id == letter_of(record()).id
