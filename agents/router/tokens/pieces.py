"""Long texts in pieces: tiktoken gives up, with a panic, on a run of a million blanks."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 500_000
"""Characters of a piece; half of what the run of blanks may have that tiktoken cannot cut."""
_BETWEEN_WORDS = re.compile(r".*[A-Za-z](?= [A-Za-z])", re.DOTALL)
"""Up to the last blank between two words, where both encodings begin a new piece themselves."""


def pieces(text: str) -> Iterator[str]:
    """`text`, cut where no text token crosses it; in the midst of things where `LONGEST` characters have no such place."""
    start = 0
    while len(text) - start > LONGEST:
        between = _BETWEEN_WORDS.match(text, start, start + LONGEST)
        end = between.end() if between else start + LONGEST
        yield text[start:end]
        start = end
    yield text[start:]
