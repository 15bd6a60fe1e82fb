"""When a provider says to come back."""

from __future__ import annotations

import datetime

import pytest

from connectors.llm.headers import retry_after, wait_asked_for


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2.5", 2.5),
        ("-1", None),
        ("-inf", None),
        ("1e400", 3600),
        ("1e9", 3600),
        ("nan", None),
        ("soon", None),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 11:00:00 GMT", None),
        ("Mon, 23 Nov 2026 12:00:30 +99999999999999", None),
        ("Mon, 23 Nov 99999 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after(header, now=datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "1500.5"}, 1.5005),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9),
        ({"retry-after-ms": "-5", "retry-after": "9"}, 9),
        ({"retry-after-ms": "9" * 40}, 3600),
    ],
)
def test_milliseconds_are_more_exact(headers, seconds):
    assert wait_asked_for(headers) == seconds
