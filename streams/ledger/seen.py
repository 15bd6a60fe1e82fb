"""Which events were counted lately, by id: a crash of whoever wrote them may have put them on the topic a second time.

One of these for a source partition. It is kept as pages, each the ids of a run of offsets, so that a redelivered record (its
own id at its own offset) is told from a repeated one (its id at an earlier offset).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

PAGE = 512
"""Offsets a page covers."""
PAGES = 64
"""Pages kept: an event is known again within the next 32,256 records of its partition, at least."""
WIDTH = 8
"""Bytes kept of an id. Two ids agree by chance once in 2**64 / 32,768 events."""


class Seen:
    def __init__(self, pages: Iterable[tuple[int, bytes]] = ()) -> None:
        self._pages: dict[int, bytearray] = {number: bytearray(content) for number, content in pages}
        self._ids = {
            mark
            for content in self._pages.values()
            for at in range(0, len(content), WIDTH)
            if (mark := bytes(content[at : at + WIDTH])) != _NONE
        }

    def repeated(self, event_id: str, offset: int) -> bool:
        """Whether this id was noted at another offset."""
        mark = _mark(event_id)
        return mark in self._ids and self._at(offset) != mark

    def note(self, event_id: str, offset: int) -> tuple[int, list[int]]:
        """Remember an id. Returns the number of the page that changed, and of those that are forgotten for it."""
        number, place = divmod(offset, PAGE)
        page, forgotten = self._pages.get(number), []
        if page is None:
            page = self._pages[number] = bytearray(PAGE * WIDTH)
            forgotten = [old for old in self._pages if old <= number - PAGES]
            for old in forgotten:
                content = self._pages.pop(old)
                self._ids.difference_update(bytes(content[at : at + WIDTH]) for at in range(0, len(content), WIDTH))
        mark = _mark(event_id)
        page[place * WIDTH : (place + 1) * WIDTH] = mark
        self._ids.add(mark)
        return number, forgotten

    def page(self, number: int) -> bytes:
        return bytes(self._pages[number])

    def _at(self, offset: int) -> bytes:
        number, place = divmod(offset, PAGE)
        page = self._pages.get(number)
        return bytes(page[place * WIDTH : (place + 1) * WIDTH]) if page is not None else _NONE


_NONE = bytes(WIDTH)


def _mark(event_id: str) -> bytes:
    return blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=WIDTH).digest()
