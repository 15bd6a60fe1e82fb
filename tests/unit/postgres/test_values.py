"""Python values as Postgres accepts them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.values import clean_text, from_base64, json_text, millis, moment

any_text = st.text(st.characters())
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
)


def _refused(text: str) -> bool:
    return any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


@given(any_text)
def test_clean_text_changes_only_what_postgres_refuses(text: str) -> None:
    clean = clean_text(text)
    assert not _refused(clean)
    assert len(clean) == len(text)
    assert all(new == old or _refused(old) for new, old in zip(clean, text, strict=True))


@given(any_json)
def test_json_text_is_json_that_holds_nothing_postgres_refuses(value: object) -> None:
    text = json_text(value)

    def check(part: object) -> None:
        if isinstance(part, str):
            assert not _refused(part)
        elif isinstance(part, list):
            for item in part:
                check(item)
        elif isinstance(part, dict):
            for key, item in part.items():
                check(key)
                check(item)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    check(json.loads(text, parse_constant=refuse))


@given(st.integers(0, 253_402_214_400_000))
def test_moment_and_millis_are_inverse(ms: int) -> None:
    assert millis(moment(ms)) == ms


def test_moments() -> None:
    assert moment(1_780_000_000_123) == datetime(2026, 5, 28, 20, 26, 40, 123_000, tzinfo=UTC)
    assert moment(2**63).year == 9999
    assert millis(None) is None


@pytest.mark.parametrize(("text", "expected"), [("", b""), ("e30=", b"{}"), ("no!", None), ("ü", None), ("e30", None)])
def test_what_is_no_base64_is_none(text: str, expected: bytes | None) -> None:
    assert from_base64(text) == expected
