"""Events survive the way to bytes and back, whatever is in them; their headers are CloudEvents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, get_args, get_origin

import pytest
from annotated_types import Le
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas import events
from schemas.bounds import END_OF_TIME_MS
from schemas.codec import CODES, Encoding, Undecodable, Unencodable, decode, decode_inbound, encode, encoding_of, single_object
from schemas.codec.avro_schema import marks
from schemas.codec.headers import rfc3339
from schemas.codec.registry import event_types

STEADY = settings(deadline=None, derandomize=True)
"""The same cases each time, however slow the machine."""
TIMER = events.TimerFired(id="t-1", time_ms=1_795_449_600_123, conversation_id="c-1", timer_id="retry", due_ms=5)
LONG = st.integers(0, 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def completed(**fields: Any) -> events.NodeCompleted:
    common = {"id": "n-1", "time_ms": 1, "conversation_id": "c-1", "run_id": "r", "node_id": "n", "execution_id": "e"}
    return events.NodeCompleted(**{**common, "attempt": 1, "epoch": 0, "outcome": "ok", **fields})


def values(annotation: Any, marks: Any = ()) -> st.SearchStrategy[Any]:
    """Anything a field of this type may hold."""
    if (most := next((mark.le for mark in marks if isinstance(mark, Le)), None)) is not None:
        return st.integers(0, most)
    simple: dict[Any, st.SearchStrategy[Any]] = {str: st.text(), int: LONG, bool: st.booleans()}
    if annotation in simple:
        return simple[annotation]
    if annotation is Decimal:
        return st.integers(-(10**15) + 1, 10**15 - 1).map(lambda micro: Decimal(micro).scaleb(-6))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return st.sampled_from(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return instances(annotation)
    if get_origin(annotation) is list:
        return st.lists(values(get_args(annotation)[0]), max_size=3)
    if get_origin(annotation) in (dict, Mapping):
        return st.dictionaries(st.text(), values(get_args(annotation)[1]), max_size=3)
    if type(None) in get_args(annotation):
        return st.none() | values(get_args(annotation)[0])
    inner, *more = get_args(annotation)  # Annotated
    return values(inner, more)


@pytest.mark.parametrize("encoding", ["avro", "json"])
@pytest.mark.parametrize("beyond", [{"time_ms": END_OF_TIME_MS + 1}, {"duration_ms": 2**63 - 1}, {"time_ms": -1}])
def test_a_time_beyond_its_bounds_is_refused_by_whoever_reads_it(beyond: dict[str, int], encoding: Encoding) -> None:
    """Whoever adds to it would leave 64 bits behind, and could not write what came out."""
    forged = completed().model_copy(update=beyond)
    with pytest.raises(Undecodable, match=next(iter(beyond))):
        decode(*encode(forged, encoding=encoding))


def instances(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    fields = {}
    for name, field in model.model_fields.items():
        as_json, _ = marks(field)
        shape = st.dictionaries(st.text(), JSON, max_size=3) if field.annotation is not Any else JSON
        fields[name] = shape if as_json else values(field.annotation, field.metadata)
    if model is events.InboundMessage:
        return inbound(fields)
    return st.builds(model, **fields)


def inbound(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Within what a customer may send: names of a certain length, integers of 64 bits."""
    name = st.text(min_size=1, max_size=256)
    named = {key: name if key == "conversation_id" else st.none() | name for key in fields if key not in ("text", "context")}
    small = st.dictionaries(st.text(), st.integers(-(2**63), 2**64 - 1) | st.text() | st.lists(st.booleans()), max_size=3)
    return st.builds(events.InboundMessage, text=st.text(), context=small, **named)


@pytest.mark.parametrize("encoding", ["avro", "json"])
@pytest.mark.parametrize("kind", event_types())
@STEADY
@given(data=st.data())
def test_decode_is_the_inverse_of_encode(kind: str, encoding: Any, data: st.DataObject) -> None:
    event = data.draw(instances(event_types()[kind]))
    value, headers = encode(event, encoding=encoding)
    read = decode_inbound(value) if isinstance(event, events.InboundMessage) else decode(value, headers)
    assert read == event
    assert encode(read, encoding=encoding)[0] == value


def test_headers_are_those_of_a_cloud_event() -> None:
    _, headers = encode(TIMER, source="hil/conversations")
    assert headers == (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"t-1"),
        ("ce_type", b"hil.timer.fired"),
        ("ce_source", b"hil/conversations"),
        ("ce_time", b"2026-11-23T16:00:00.123Z"),
        ("ce_subject", b"c-1"),
        ("content-type", b"application/avro"),
    )


def test_a_subject_is_left_out_when_there_is_none() -> None:
    """CloudEvents: an attribute that is present is not empty."""
    _, headers = encode(TIMER.model_copy(update={"conversation_id": ""}))
    assert "ce_subject" not in dict(headers)


def test_a_message_without_an_id_is_no_cloud_event() -> None:
    _, headers = encode(events.InboundMessage(text="x", conversation_id="c"))
    assert headers == (("content-type", b"application/json"),)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [(0, b"1970-01-01T00:00:00.000Z"), (-1, b"1970-01-01T00:00:00.999Z"), (2**62, b"9999-12-31T23:59:59.904Z")],
)
def test_no_time_is_beyond_words(time_ms: int, text: bytes) -> None:
    assert rfc3339(time_ms) == text


def test_topics_people_touch_are_json_and_internal_ones_avro() -> None:
    by_encoding = {
        encoding: {kind for kind, model in event_types().items() if encoding_of(model) == encoding}
        for encoding in ("json", "avro")
    }
    assert {"hil.customer.message", "hil.customer.response", "hil.human.task", "hil.dead.letter"} <= by_encoding["json"]
    assert {"hil.message.received", "hil.node.completed", "hil.run.finished", "hil.model.called"} <= by_encoding["avro"]


def test_a_response_has_the_fields_that_were_promised_and_money_as_a_number() -> None:
    response = events.CustomerResponse(
        id="1",
        time_ms=2,
        conversation_id="c",
        message_id="m",
        run_id="r",
        status="completed",
        text="t",
        outputs={"a": {"b": 1}},
        cost_usd=Decimal("0.000128"),
    )
    body = json.loads(encode(response)[0])
    promised = {"conversation_id", "message_id", "run_id", "status", "text", "outputs", "cost_usd", "duration_ms", "trace"}
    assert body.keys() == promised | {"id", "time_ms", "workflow", "error", "metadata"}
    assert (body["cost_usd"], body["outputs"]) == (0.000128, {"a": {"b": 1}})


@pytest.mark.parametrize("encoding", ["avro", "json"])
def test_half_a_surrogate_pair_becomes_a_replacement_character(encoding: Any) -> None:
    """A tool or a model may answer with one; the run goes on."""
    event = completed(output={"a\ud800": ["\udc00", "🙂"], "t": ("\ud83d\ude42",)}, error=None)
    assert decode(*encode(event, encoding=encoding)).output == {"a\ufffd": ["\ufffd", "🙂"], "t": ["🙂"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["avro", "json"])
def test_free_json_takes_what_json_has_a_form_for(encoding: Any) -> None:
    event = completed(output={"n": float("nan"), "t": (1, 2), "m": MappingProxyType({"a": 1})})
    assert decode(*encode(event, encoding=encoding)).output == {"n": None, "t": [1, 2], "m": {"a": 1}}  # type: ignore[attr-defined]


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("encoding", ["avro", "json"])
@pytest.mark.parametrize("output", [object(), nested(5_000)], ids=["object", "depth"])
def test_what_json_has_no_form_for_is_a_defect_with_a_name(output: object, encoding: Any) -> None:
    with pytest.raises(Unencodable, match=r"hil\.node\.completed"):
        encode(completed(output=output), encoding=encoding)


def test_what_a_node_may_put_out_fits_into_the_response_too() -> None:
    """The bound on depth is met where the output is first written, not later when a response carries it."""
    deepest = nested(single_object.MAX_DEPTH)
    encode(completed(output=deepest), encoding="avro")
    encode(completed(output={"outputs": {"node": deepest}}), encoding="json")
    with pytest.raises(Unencodable, match=r"`output` is nested more than 200 deep"):
        encode(completed(output=[deepest]), encoding="avro")


def test_a_number_beyond_64_bits_does_not_fit_an_avro_field() -> None:
    with pytest.raises(Unencodable, match=r"hil\.timer\.fired"):
        encode(TIMER.model_copy(update={"due_ms": 2**63}))


@pytest.mark.parametrize(
    ("value", "headers", "code"),
    [
        (None, (), "empty"),
        (b"", (), "empty"),
        (b"{}", (), "unknown_event_type"),
        (b"{}", (("ce_type", b"hil.nonsense"),), "unknown_event_type"),
        (b"{}", (("ce_type", None),), "unknown_event_type"),
        (b"{}", (("ce_type", b"hil.timer.fired"),), "missing_field"),
        (b"[]", (("ce_type", b"hil.timer.fired"),), "wrong_type"),
        (b"{", (("ce_type", b"hil.timer.fired"),), "invalid_json"),
        (b"[" * 100_000, (("ce_type", b"hil.timer.fired"),), "too_deep"),
        (b'"\xff"', (("ce_type", b"hil.timer.fired"),), "invalid_utf8"),
        (b"\xc3\x01", (), "truncated"),
        (b"\xc3\x01" + bytes(8), (), "unknown_fingerprint"),
        (encode(TIMER)[0][:-1], (), "truncated"),
        (encode(TIMER)[0] + b"\x00", (), "trailing_bytes"),
        (b"\x00\x00\x00\x00\x01", (), "no_schema_registry"),
        (encode(events.InboundMessage(text="x", conversation_id="c"), encoding="avro")[0], (), "unknown_event_type"),
    ],
)
def test_what_is_no_event_is_refused_with_a_code(value: bytes | None, headers: Any, code: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(value, headers)
    assert refused.value.code == code
    assert refused.value.reason.endswith(".")


@pytest.mark.parametrize("due_ms", [-1, END_OF_TIME_MS + 1, 2**63 - 1])
def test_a_value_outside_the_models_limits_is_refused_in_avro_too(due_ms: int) -> None:
    """Avro has no enum and no bounds here; the model has. No time is before 1970 or after the year 9999."""
    value, _ = encode(TIMER.model_copy(update={"due_ms": due_ms}))
    with pytest.raises(Undecodable, match="due_ms") as refused:
        decode(value)
    assert refused.value.code == "invalid_value"


@pytest.mark.parametrize("kind", event_types())
@STEADY
@given(data=st.data())
def test_no_bytes_behind_a_known_fingerprint_do_more_than_be_refused(kind: str, data: st.DataObject) -> None:
    head = single_object.MARKER + single_object.current(event_types()[kind]).fingerprint
    try:
        decode(head + data.draw(st.binary(max_size=120)))
    except Undecodable as refused:
        code = refused.code
    else:
        code = "empty"
    assert code in CODES
