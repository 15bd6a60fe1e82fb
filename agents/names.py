"""Tool names on wires that know no dots: `shopify.get_order` ↔ `shopify_get_order`, reversible for the tools of one request."""

from __future__ import annotations

import hashlib
import keyword
import re
from collections.abc import Iterable
from functools import lru_cache

MAX_LENGTH = 64
"""What OpenAI accepts as a function name."""


@lru_cache(4096)
def wire_name(name: str) -> str:
    """`name` as a Python identifier of at most 64 characters; the same name always gives the same result."""
    written = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not written or written[0].isdigit() or keyword.iskeyword(written):
        written = f"_{written}"
    return written if len(written) <= MAX_LENGTH else f"{written[: MAX_LENGTH - 9]}_{_short(name)}"


class WireNames:
    """Both directions for a set of tools. Two names that would look alike on the wire are told apart by a short digest."""

    def __init__(self, names: Iterable[str]) -> None:
        self._out: dict[str, str] = {}
        self._back: dict[str, str] = {}
        for name in dict.fromkeys(names):
            written = wire_name(name)
            if written in self._back:
                written = f"{written[: MAX_LENGTH - 9]}_{_short(name)}"
            self._out[name] = written
            self._back[written] = name

    def to_wire(self, name: str) -> str:
        return self._out.get(name) or wire_name(name)

    def from_wire(self, written: str) -> str:
        """The tool's name; what the model made up is returned as it wrote it, and refused where tools are called."""
        return self._back.get(written, written)

    def __contains__(self, written: str) -> bool:
        return written in self._back


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
