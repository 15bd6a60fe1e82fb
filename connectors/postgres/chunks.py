"""Documents in pieces a model can be shown. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

WORDS = 200
"""What a chunk aims for; a paragraph is only cut when it is longer than this by itself."""
MAX_HEADING = 200
"""Characters of a heading that are kept: it is repeated with each of its chunks."""
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_FENCE = re.compile(r"^\s*(```|~~~)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")
_LETTERS_A_WORD = 20
"""Many scripts do without spaces: this many letters count as a word, so that no chunk is unbounded."""


@dataclass(frozen=True, slots=True)
class Chunk:
    heading: str
    """The headings above it, outermost first, joined by ` › `; empty before the first one."""
    text: str


def title_of(markdown: str, otherwise: str) -> str:
    """The first heading, else `otherwise`."""
    return next((heading for _, heading in _headings(markdown)), otherwise)


def chunks(markdown: str, *, words: int = WORDS) -> list[Chunk]:
    """The document's paragraphs, packed under their heading into chunks of about `words` words, in order."""
    found: list[Chunk] = []
    for heading, paragraphs in _sections(markdown):
        packed: list[str] = []
        size = 0
        for piece in (piece for paragraph in paragraphs for piece in _pieces(paragraph, words)):
            length = _size(piece)
            if packed and size + length > words:
                found.append(Chunk(heading, "\n\n".join(packed)))
                packed, size = [], 0
            packed.append(piece)
            size += length
        if packed:
            found.append(Chunk(heading, "\n\n".join(packed)))
    return found


def _sections(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """Heading path and paragraphs of each section that has any text."""
    path: list[tuple[int, str]] = []
    paragraphs: list[list[str]] = [[]]
    fenced = False
    for line in markdown.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _heading(line)
        if heading:
            if section := _joined(paragraphs):
                yield _shown(path), section
            paragraphs = [[]]
            path = [*((depth, name) for depth, name in path if depth < heading[0]), heading]
        elif line.strip() or fenced:
            paragraphs[-1].append(line.rstrip())
        else:
            paragraphs.append([])
    if section := _joined(paragraphs):
        yield _shown(path), section


def _headings(markdown: str) -> Iterator[tuple[int, str]]:
    fenced = False
    for line in markdown.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and (heading := _heading(line)) and heading[1]:
            yield heading


def _heading(line: str) -> tuple[int, str] | None:
    """Its level and words, when a line is one."""
    found = _HEADING.fullmatch(line.rstrip())
    if found is None:
        return None
    words = found[2].rstrip("#").strip()
    return len(found[1]), words if len(words) <= MAX_HEADING else f"{words[: MAX_HEADING - 1]}…"


def _pieces(paragraph: str, words: int) -> Iterator[str]:
    """The paragraph if it is short enough, else runs of its words, cut between sentences where that leaves most of a piece."""
    room = words * _LETTERS_A_WORD
    if _size(paragraph) <= words:
        yield paragraph
        return
    packed: list[str] = []
    letters = 0
    for sentence in _SENTENCE_END.split(paragraph):
        for word in sentence.split():
            for part in (word[start : start + room] for start in range(0, len(word), room)):
                if packed and (len(packed) == words or letters + len(packed) + len(part) > room):
                    yield " ".join(packed)
                    packed, letters = [], 0
                packed.append(part)
                letters += len(part)
        if len(packed) >= words * 2 // 3:
            yield " ".join(packed)
            packed, letters = [], 0
    if packed:
        yield " ".join(packed)


def _size(text: str) -> int:
    """In words, or what its letters would make of them."""
    return max(len(text.split()), math.ceil(len(text) / _LETTERS_A_WORD))


def _joined(paragraphs: list[list[str]]) -> list[str]:
    return [text for lines in paragraphs if (text := "\n".join(lines).strip())]


def _shown(path: list[tuple[int, str]]) -> str:
    return " › ".join(name for _, name in path if name)
