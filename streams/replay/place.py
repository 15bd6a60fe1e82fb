"""Where a period of the log begins or ends, as an operator writes it. Pure: what `2h ago` means comes with the question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

MS_DIGITS = 12
"""A number with this many digits or more is a time in milliseconds (from 1973 on); a shorter one is an offset."""
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)(?:\s+ago)?")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def moment(ms: int) -> str:
    """A record's time in ISO 8601, to the millisecond; a producer may claim one that no calendar has."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


class NoPlace(ValueError):
    """The text says no place. The message says what to write."""


@dataclass(frozen=True, slots=True)
class Place:
    """In every partition: its `beginning` or `end`, an `offset`, or a `time` in ms, which each record is held against."""

    kind: Literal["beginning", "end", "offset", "time"]
    value: int = 0


BEGINNING, END = Place("beginning"), Place("end")


def place(text: str, *, now_ms: int) -> Place:
    """`earliest`, `latest`, an offset, milliseconds since 1970, an ISO 8601 time (local without a zone), or an age like `2h`."""
    word = text.strip().lower()
    if word in ("earliest", "beginning"):
        return BEGINNING
    if word in ("latest", "end", "now"):
        return END
    if word.isascii() and word.isdigit():
        return Place("time" if len(word) >= MS_DIGITS else "offset", int(word))
    if ago := _AGO.fullmatch(word):
        return Place("time", max(0, now_ms - int(float(ago[1]) * _UNIT_MS[ago[2]])))
    try:
        return Place("time", max(0, int(datetime.fromisoformat(text.strip()).timestamp() * 1000)))
    except (ValueError, OverflowError, OSError):
        raise NoPlace(
            f"{text!r} is no place in a topic: write earliest, latest, an offset like 1200, a time like 2026-01-31T12:00:00 "
            "or 2026-01-31T12:00:00Z, milliseconds like 1769860800000, or an age like 90s, 15m, 2h, 7d"
        ) from None
