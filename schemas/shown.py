"""Text of strangers on its way to a terminal or a log: nothing in it acts, pretends to be a line of its own, or is a password."""

from __future__ import annotations

import re

_ACTS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and line feed: the terminal's commands
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the direction of writing (CVE-2021-42574)
    "\u2028\u2029"  # ends of lines, for some readers
    "\u00ad\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"  # nothing to be seen
    "\ud800-\udfff"  # half a character, which no terminal can be sent
    "\U000e0000-\U000e0fff"  # tags: text that only machines see
)
_IN_LINES = re.compile(f"[{_ACTS}]")
_IN_A_LINE = re.compile(f"[{_ACTS}\n]")

_CREDENTIALS = (
    # scheme://user:password@host. Passwords are not always encoded as they should be: up to the last @ of the word.
    re.compile(r"(?P<kept>\b[a-z][a-z0-9+._-]*://[^\s:/@?#'\"<>]*:)[^\s'\"<>]*(?P<after>@)", re.IGNORECASE),
    # user:password@host:port, without a scheme
    re.compile(r"(?P<kept>(?<![\w/:@.-])[\w.%+-]+:)[^\s/@:,'\"<>]+(?P<after>@(?=[\w\[]))"),
    # ?key=…, and libpq's password=… between spaces
    re.compile(
        r"(?P<kept>(?:[?&;]|\b)(?:api[_-]?key|access[_-]?token|client[_-]?secret|password|passwd|sslpassword|passfile)=|"
        r"[?&;](?:key|token|secret|sig|signature|auth|pass|pwd)=)[^\s&;#'\"<>]+(?P<after>)",
        re.IGNORECASE,
    ),
    # Authorization: Bearer …
    re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}(?P<after>)", re.IGNORECASE),
)
HIDDEN = "***"


def visible(text: str, *, lines: bool = False) -> str:
    r"""`text` with what would act on a terminal written as JSON writes it: `\u001b`. JSON stays the same JSON.

    `lines`: keep line feeds, for text that has lines of its own.
    """
    return (_IN_LINES if lines else _IN_A_LINE).sub(_written, text)


def masked(text: str) -> str:
    """`text` without the passwords and keys of the addresses in it."""
    if "@" not in text and "=" not in text and " " not in text:
        return text
    for credentials in _CREDENTIALS:
        text = credentials.sub(rf"\g<kept>{HIDDEN}\g<after>", text)
    return text


def without_credentials(url: str) -> str:
    """An address for programs to read: user and password left out, and so are keys in its query."""
    url = re.sub(r"(\b[a-z][a-z0-9+._-]*://)[^\s/?#]*@", r"\1", url, count=1, flags=re.IGNORECASE)
    return _CREDENTIALS[2].sub("", url).rstrip("?&;")


def _written(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\n":
        return "\\n"
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
