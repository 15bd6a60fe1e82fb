"""Reads Retry-After."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Mapping

LONGEST_WAIT_S = 3600.0


def retry_after(header: str | None, *, now: datetime.datetime) -> float | None:
    """Seconds to wait from a Retry-After header (RFC 9110 10.2.3: seconds or a date), at most an hour; None when unreadable."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            due = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (due if due.tzinfo else due.replace(tzinfo=datetime.UTC)).timestamp() - now.timestamp()
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if seconds == seconds else None


def wait_asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds; OpenAI's `retry-after-ms` before the standard's header."""
    milliseconds = headers.get("retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return min(int(milliseconds[:12]) / 1000, LONGEST_WAIT_S)
    return retry_after(headers.get("retry-after"), now=datetime.datetime.now(datetime.UTC))
