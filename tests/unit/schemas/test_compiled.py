"""The compiled writers and readers do what fastavro does, or leave it to fastavro."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec.compiled import compile_reader, compile_writer
from schemas.codec.registry import current, event_types
from schemas.codec.single_object import from_json

LONG = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-70, 70)
TEXT = st.text(max_size=20) | st.text(min_size=130, max_size=140)
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": ("string", TEXT),
    "number": ("long", LONG),
    "truth": ("boolean", st.booleans()),
    "texts": ({"type": "array", "items": "string"}, st.lists(TEXT, max_size=4)),
    "text_or_null": (["null", "string"], st.none() | TEXT),
    "number_or_null": (["long", "null"], st.none() | LONG),
}
SCHEMA = fastavro.parse_schema(
    {"type": "record", "name": "All", "fields": [{"name": name, "type": kind} for name, (kind, _) in KINDS.items()]}
)
RECORDS = st.fixed_dictionaries({name: strategy for name, (_, strategy) in KINDS.items()})
WRITE, READ = compile_writer(SCHEMA, b"head", lambda value: b""), compile_reader(SCHEMA, from_json)


def by_fastavro(record: dict[str, Any]) -> bytes:
    body = BytesIO(b"head")
    body.seek(4)
    fastavro.schemaless_writer(body, SCHEMA, record)
    return body.getvalue()


@given(record=RECORDS)
def test_a_compiled_writer_writes_the_bytes_that_fastavro_writes(record: dict[str, Any]) -> None:
    assert WRITE is not None
    assert WRITE(record) == by_fastavro(record)


@given(record=RECORDS)
def test_a_compiled_reader_reads_what_fastavro_wrote(record: dict[str, Any]) -> None:
    assert READ is not None
    assert READ(by_fastavro(record), 4) == record


@given(record=RECORDS, data=st.data())
def test_damaged_bytes_are_read_as_fastavro_reads_them_or_not_at_all(record: dict[str, Any], data: st.DataObject) -> None:
    assert READ is not None
    good = bytearray(by_fastavro(record))
    at = data.draw(st.integers(4, len(good) - 1))
    good[at] = data.draw(st.integers(0, 255))
    bad = bytes(good[: data.draw(st.integers(at, len(good)))])
    try:
        found = READ(bad, 4)
    except (ValueError, TypeError, ArithmeticError, LookupError, EOFError, NotImplementedError):
        return
    body = BytesIO(bad)
    body.seek(4)
    assert fastavro.schemaless_reader(body, SCHEMA, None) == found
    assert body.tell() == len(bad)


@pytest.mark.parametrize("value", [1 << 63, 1.5, "1", None, b"x"])
def test_what_is_no_long_is_left_to_fastavro(value: Any) -> None:
    assert WRITE is not None
    with pytest.raises((OverflowError, TypeError)):
        WRITE({"text": "", "number": value, "truth": True, "texts": [], "text_or_null": None, "number_or_null": None})


def test_what_is_on_the_way_of_every_run_is_compiled() -> None:
    """A new field of another kind would silently halve the speed of its event."""
    for kind in ("hil.message.received", "hil.node.task", "hil.node.completed", "hil.node.finished", "hil.run.finished"):
        assert compile_writer(current(event_types()[kind]).parsed, b"", lambda value: b"") is not None
