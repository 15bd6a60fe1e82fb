"""Places in a topic, as an operator writes them."""

from __future__ import annotations

from datetime import datetime

import pytest

from streams.replay.place import BEGINNING, END, NoPlace, Place, place

NOW = 1_795_449_600_000


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("earliest", BEGINNING),
        ("Latest", END),
        ("0", Place("offset", 0)),
        ("1200", Place("offset", 1200)),
        ("1795449600000", Place("time", NOW)),
        ("2026-11-23T16:00:00Z", Place("time", 1_795_449_600_000)),
        ("2026-11-23T17:00:00.250+01:00", Place("time", 1_795_449_600_250)),
        ("90s", Place("time", NOW - 90_000)),
        ("1.5h ago", Place("time", NOW - 5_400_000)),
        ("500ms", Place("time", NOW - 500)),
        ("99999w", Place("time", 0)),
    ],
)
def test_each_way_of_saying_a_place(text: str, meant: Place):
    assert place(text, now_ms=NOW) == meant


def test_a_time_without_a_zone_is_the_operators():
    local = int(datetime(2026, 11, 23, 16, 0).astimezone().timestamp() * 1000)
    assert place("2026-11-23T16:00:00", now_ms=NOW) == Place("time", local)


@pytest.mark.parametrize("text", ["", "yesterday", "-5", "12x", "2026-13-01T00:00:00", "١٢"])
def test_anything_else_says_what_to_write(text: str):
    with pytest.raises(NoPlace, match="write earliest"):
        place(text, now_ms=NOW)
