"""Server-sent events (WHATWG HTML 9.2), as far as language models use them: the data of each event, decoded."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from connectors.llm.reading import Unreadable, decoded

LONGEST_EVENT = 16 * 1024 * 1024
DONE = b"[DONE]"
_FIELDS = (b":", b"event", b"id", b"retry", b"data")


class Events:
    """Feed it bytes as they come; it gives the events that are complete, DONE for OpenAI's end mark, and none after it."""

    def __init__(self) -> None:
        self._rest, self._data = b"", b""
        self._begun = False
        self.done = False
        self.stray = bytearray()
        """Lines that belong to no event: of an answer that is no stream, all of it."""

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """Raises Unreadable for data that is no JSON."""
        raw = self._rest + chunk
        if not self._begun and len(raw) >= len(BOM_UTF8):
            raw, self._begun = raw.removeprefix(BOM_UTF8), True  # as the standard asks
        half = b"\r" if raw.endswith(b"\r") else b""  # the other half of its line end may come with the next bytes
        lines = raw.removesuffix(half).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + half
        if len(self._rest) + len(self._data) > LONGEST_EVENT:
            raise Unreadable(f"one event of it is longer than {LONGEST_EVENT} bytes", code="too_large")
        for line in lines:
            if line.startswith(b"data:"):
                self._data += (b"\n" if self._data else b"") + line[5:].strip()
            elif not line.strip():
                if self._data:
                    yield from self._event()
            elif not line.startswith(_FIELDS):
                self.stray += line + b"\n"

    def end(self) -> Iterator[Any]:
        """The connection has ended: an event without its closing blank line counts when it is whole."""
        yield from self.feed(b"\n\n")

    def _event(self) -> Iterator[Any]:
        data, self._data = self._data, b""
        if data == DONE:
            self.done = True
            yield DONE
        elif not self.done:
            yield decoded(data)
