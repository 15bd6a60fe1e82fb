"""Reads Retry-After and Keep-Alive."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Mapping

LONGEST_WAIT_S = 3600.0


def retry_after(header: str | None, *, now: datetime.datetime) -> float | None:
    """Seconds to wait from a Retry-After header (RFC 9110 10.2.3: seconds or a date), at most an hour.

    None when it cannot be read or asks for no wait, as a date that has passed does: then how long is for us to say.
    """
    if not header:
        return None
    seconds = _number(header)
    if seconds is not None:
        return min(seconds, LONGEST_WAIT_S) if seconds > 0 else None
    try:
        due = email.utils.parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # the second for a time zone beyond all bounds
        return None
    left = (due if due.tzinfo else due.replace(tzinfo=datetime.UTC)).timestamp() - now.timestamp()
    return min(left, LONGEST_WAIT_S) if left > 0 else None


def wait_asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds; OpenAI's `retry-after-ms` before the standard's header."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None and milliseconds > 0:
        return min(milliseconds / 1000, LONGEST_WAIT_S)
    return retry_after(headers.get("retry-after"), now=datetime.datetime.now(datetime.UTC))


def keep_alive(headers: Mapping[str, str]) -> float | None:
    """Seconds an endpoint says it keeps an idle connection (`Keep-Alive: timeout=5`); None when it does not."""
    for part in headers.get("keep-alive", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and (seconds := _number(value)) is not None and seconds >= 0:
            return min(seconds, LONGEST_WAIT_S)
    return None


def _number(written: str) -> float | None:
    try:
        number = float(written)
    except ValueError:
        return None
    return number if number == number else None
