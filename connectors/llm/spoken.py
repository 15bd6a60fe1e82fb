"""What a reader gets to hear of a streamed answer: whole characters, and no thoughts."""

from __future__ import annotations

from agents.jsonable import text
from agents.model_text import thinks, without_thoughts


class Spoken:
    """Feed it pieces as they come; it gives what may be passed on. Held back: half a character, and what may be a thought."""

    def __init__(self) -> None:
        self._held = ""
        self._decided = False

    def feed(self, added: str) -> str:
        if not added:
            return ""
        written = self._held + added
        if not self._decided:
            said = without_thoughts(written) if thinks(written) else written
            if thinks(said) is not False:
                self._held = written
                return ""
            written, self._decided = said, True
        half = written[-1:] if "\ud800" <= written[-1:] <= "\udbff" else ""
        self._held = half
        return text(written.removesuffix(half) if half else written)

    def rest(self) -> str:
        """What is left when the answer has ended."""
        held, self._held = self._held, ""
        return text(held if self._decided else without_thoughts(held))
