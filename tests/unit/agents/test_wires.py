"""Values and names on their way out of the house and in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.jsonable import NotJson, digest, parse, plain
from agents.names import MAX_LENGTH, WireNames

names = st.lists(st.from_regex(r"[a-z][a-z0-9_\-]{0,40}\.[a-z0-9_\-]{1,60}", fullmatch=True), max_size=8, unique=True)


@given(names)
def test_tool_names_survive_the_wire_and_no_two_look_alike(tools):
    wire = WireNames(tools)
    written = [wire.to_wire(name) for name in tools]
    assert [wire.from_wire(each) for each in written] == tools
    assert all(each.isidentifier() and len(each) <= MAX_LENGTH for each in written)


def test_names_that_look_alike_without_dots_are_told_apart():
    wire = WireNames(["google.drive_list", "google_drive.list"])
    assert wire.to_wire("google.drive_list") == "google_drive_list"
    assert wire.from_wire(wire.to_wire("google_drive.list")) == "google_drive.list"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_passes_is_json_and_utf8(value):
    try:
        result = plain(value)
    except NotJson:
        return
    assert json.loads(json.dumps(result, allow_nan=False).encode()) == result


@pytest.mark.parametrize("text", ["", "{", "nul", "NaN", "[" * 100_000, "1" * 5000, '{"a":' * 200 + "1" + "}" * 200])
def test_text_that_is_no_usable_json_is_refused_in_words(text):
    with pytest.raises(NotJson, match="it "):
        parse(text)


def test_the_order_of_keys_does_not_change_a_digest():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
