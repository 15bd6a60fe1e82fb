"""A record that is worked on before the broker has said where it is: this process writes it, and reads it as well.

What its handler publishes may be durable before the record itself. A crash between leaves outputs of a record that is not there;
whoever wrote it writes it again, with the same id, since its own position is not committed before its outputs are durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from streams.runtime.effects import Entry
from streams.runtime.model import Outgoing, Record, S


class Begun(Generic[S]):
    """Among the records of its partition it stands for itself: it is not handled again, it takes its place."""

    __slots__ = ("_place", "entry", "key", "offset", "out", "timestamp_ms")

    def __init__(self, out: Outgoing, entry: Entry[S], place: Callable[[Begun[S]], None]) -> None:
        self.out = out
        self.entry = entry
        self.key = out.key
        self.offset, self.timestamp_ms = -1, 0
        """Known once it is durable."""
        self._place = place

    @property
    def placed(self) -> bool:
        return self.entry.offset >= 0

    def place(self) -> None:
        """Everything before it has been handed over."""
        self._place(self)


Begin = Callable[[Outgoing], Begun[S] | None]
"""Begin to work on a record that is about to be written, or None: then it comes when it is durable, like any other."""


def unplaced(out: Outgoing, partition: int) -> Record:
    """The record as its handler sees it: with the offset -1, and without a time."""
    return Record(out.topic, partition, -1, 0, out.key, out.value, out.headers)
