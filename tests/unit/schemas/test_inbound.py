"""What anybody may put on customer.messages: read as it is meant, or refused in words that say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import CODES, MAX_INBOUND_BYTES, Undecodable, decode_inbound, encode, single_object
from schemas.events import InboundMessage, TimerFired

STEADY = settings(deadline=None, derandomize=True)
"""The same cases each time, however slow the machine."""
MINIMAL = {"text": "Where is my order?", "conversation_id": "c-1"}
FULL = InboundMessage(
    **MINIMAL, message_id="m-1", customer_id="c-9", workflow="support@2.0.0", context={"vip": True, "tags": [1, 2.5, None]}
)


def refusal(value: bytes | None, headers: Any = ()) -> Undecodable:
    with pytest.raises(Undecodable) as refused:
        decode_inbound(value, headers)
    assert refused.value.code in CODES
    return refused.value


def message(**fields: object) -> bytes:
    return json.dumps({**MINIMAL, **fields}).encode()


def test_two_fields_make_a_message() -> None:
    assert decode_inbound(message()) == InboundMessage(**MINIMAL)


def test_an_empty_text_and_nul_bytes_are_a_customers_right() -> None:
    assert decode_inbound(message(text="")).text == ""
    assert decode_inbound(message(text="a\0b")).text == "a\0b"


def test_keys_nobody_knows_are_ignored() -> None:
    assert decode_inbound(message(channel="mail", id=[1])) == InboundMessage(**MINIMAL)


@pytest.mark.parametrize("encoding", ["json", "avro"])
def test_either_encoding_is_told_apart_by_its_first_byte(encoding: Any) -> None:
    assert decode_inbound(encode(FULL, encoding=encoding)[0], ()) == FULL


@pytest.mark.parametrize("content_type", [b"application/json", b"application/json; charset=utf-8", b"text/plain", b"", None])
def test_a_content_type_that_does_not_contradict_the_value_is_no_obstacle(content_type: bytes | None) -> None:
    assert decode_inbound(message(), [("Content-Type", content_type)]) == InboundMessage(**MINIMAL)


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"text": None}, "wrong_type", "`text`"),
        ({"text": 1}, "wrong_type", "`text`"),
        ({"text": ["a"]}, "wrong_type", "`text`"),
        ({"conversation_id": 7}, "wrong_type", "`conversation_id`"),
        ({"conversation_id": True}, "wrong_type", "`conversation_id`"),
        ({"conversation_id": ""}, "invalid_value", "`conversation_id`"),
        ({"conversation_id": "c" * 257}, "invalid_value", "`conversation_id`"),
        ({"message_id": 12}, "wrong_type", "`message_id`"),
        ({"workflow": {}}, "wrong_type", "`workflow`"),
        ({"context": []}, "wrong_type", "`context`"),
        ({"context": "{}"}, "wrong_type", "`context`"),
        ({"context": None}, "wrong_type", "`context`"),
        ({"text": "x" * 200_001}, "invalid_value", "`text`"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name_and_never_bent(fields: dict[str, Any], code: str, named: str) -> None:
    refused = refusal(message(**fields))
    assert refused.code == code
    assert named in refused.reason


def test_every_missing_field_is_named_at_once() -> None:
    refused = refusal(b"{}")
    assert refused.code == "missing_field"
    assert "`text`: is missing; `conversation_id`: is missing" in refused.reason


@pytest.mark.parametrize("value", [b"[]", b'"text"', b"7", b"1.5", b"true", b"null", b"[{}]"])
def test_only_an_object_is_a_message(value: bytes) -> None:
    assert refusal(value).code == "wrong_type"


def test_a_reason_never_repeats_what_the_customer_wrote() -> None:
    secret = "4111-1111-1111-1111"
    values = [message(conversation_id=[secret]), message(message_id={secret: 1}), b'{"text":"' + secret.encode() + b'\x01"}']
    assert all(secret not in refusal(value).reason for value in values)


@pytest.mark.parametrize("value", [b"", None])
def test_a_record_without_a_value_is_refused(value: bytes | None) -> None:
    assert refusal(value).code == "empty"


def test_the_limit_on_size_is_exact_and_comes_before_parsing() -> None:
    padding = MAX_INBOUND_BYTES - len(message(note=""))
    assert decode_inbound(message(note="x" * padding)) == InboundMessage(**MINIMAL)
    refused = refusal(b"[" * (MAX_INBOUND_BYTES + 1))
    assert refused.code == "too_large"
    assert "1,000,001 bytes" in refused.reason


@pytest.mark.parametrize("kind", [b"hil.nonsense", b"com.example.order.created", b"hil.node.completed", b"\xff"])
def test_a_record_that_says_it_is_something_else_is_refused(kind: bytes) -> None:
    assert refusal(message(), [("ce_type", kind)]).code == "unknown_event_type"


def test_another_event_in_avro_is_refused() -> None:
    value, _ = encode(TimerFired(id="1", time_ms=2, conversation_id="c", timer_id="t", due_ms=3))
    assert refusal(value).code == "unknown_event_type"


def test_a_schema_registrys_frame_is_refused_in_words() -> None:
    refused = refusal(b"\x00\x00\x00\x00\x07abc")
    assert (refused.code, "schema registry" in refused.reason) == ("no_schema_registry", True)


def test_avro_without_its_marker_is_refused_in_words() -> None:
    assert "C3 01" in refusal(b"\x08text", [("content-type", b"application/avro")]).reason


def code_of(read: Callable[[bytes], object], value: bytes) -> str | None:
    """Why `value` was refused; None when it was read."""
    try:
        read(value)
    except Undecodable as refused:
        return refused.code
    return None


AVRO = encode(FULL, encoding="avro")[0]


@pytest.mark.parametrize("length", range(2, len(AVRO)))
def test_an_avro_message_cut_anywhere_is_refused(length: int) -> None:
    assert refusal(AVRO[:length]).code in ("truncated", "invalid_avro", "unknown_fingerprint")


def test_something_after_an_avro_message_is_refused() -> None:
    assert refusal(AVRO + b"\x00").code == "trailing_bytes"


def test_the_json_inside_an_avro_message_is_read_as_strictly() -> None:
    twice = b'{"vip":true,"vip":false}'
    inside = json.dumps(FULL.context, separators=(",", ":")).encode()
    assert AVRO.count(bytes([len(inside) * 2]) + inside) == 1
    assert refusal(AVRO.replace(bytes([len(inside) * 2]) + inside, bytes([len(twice) * 2]) + twice)).code == "duplicate_key"


@STEADY
@given(st.data())
def test_a_damaged_avro_message_is_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(AVRO)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(single_object.HEAD, len(AVRO) - 1))] = data.draw(st.integers(0, 255))
    assert code_of(decode_inbound, bytes(damaged)) in (None, *CODES)


@STEADY
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", AVRO[: single_object.HEAD], b'{"text":', b'{"text":"a","conversation_id":"c","context":']),
)
def test_no_bytes_do_more_than_be_refused(value: bytes, head: bytes) -> None:
    assert code_of(decode_inbound, head + value) in (None, *CODES)
