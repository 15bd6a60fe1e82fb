"""Server-sent events (WHATWG HTML 9.2), as far as language models use them: the data of each event, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.llm.reading import Unreadable, decoded

LONGEST_EVENT = 16 * 1024 * 1024
DONE = b"[DONE]"


class Events:
    """Feed it bytes as they come; it gives the events that are complete. `done` after OpenAI's end mark."""

    def __init__(self) -> None:
        self._rest, self._data = b"", b""
        self.done = False

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """Raises Unreadable for data that is no JSON."""
        lines = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) + len(self._data) > LONGEST_EVENT:
            raise Unreadable(f"one event of it is longer than {LONGEST_EVENT} bytes", code="too_large")
        for line in lines:
            if line.startswith(b"data:"):
                self._data += (b"\n" if self._data else b"") + line[5:].strip()
            elif not line.strip() and self._data:
                yield from self._event()

    def end(self) -> Iterator[Any]:
        """The connection has ended: an event without its closing blank line counts when it is whole."""
        yield from self.feed(b"\n\n")

    def _event(self) -> Iterator[Any]:
        data, self._data = self._data, b""
        if data == DONE:
            self.done = True
        elif not self.done:
            yield decoded(data)
