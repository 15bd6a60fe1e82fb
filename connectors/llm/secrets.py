"""Takes keys out of words that leave this process: providers like to quote them."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

from schemas.shown import HIDDEN, masked

_LOOKS_LIKE_A_KEY = re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_\-*.]{4,}|(?<=\bBearer )[A-Za-z0-9._~+/\-*]{8,}=*", re.IGNORECASE)
LONGEST = 600
"""Characters of a provider's words that are worth repeating."""
_SHORTEST_SECRET = 4
"""A shorter one is a placeholder, and would blot out ordinary words."""


class Secrets:
    """The ways one key can be written."""

    def __init__(self, key: str) -> None:
        ways: set[str] = set()
        if len(key) >= _SHORTEST_SECRET:
            encoded = base64.b64encode(key.encode()).decode()
            ways = {key, quote(key, safe=""), json.dumps(key)[1:-1], encoded, encoded.rstrip("=")}
        self._ways = sorted(ways, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Secrets({HIDDEN})"

    def out_of(self, words: str) -> str:
        """An error's words on one line, without keys and passwords of addresses, at most LONGEST characters."""
        return _LOOKS_LIKE_A_KEY.sub(HIDDEN, self.hidden(masked(" ".join(words.split()))))[:LONGEST]

    def hidden(self, words: str) -> str:
        """`words` without this endpoint's key; other text as it is."""
        for way in self._ways:
            if way in words:
                words = words.replace(way, HIDDEN)
        return words
