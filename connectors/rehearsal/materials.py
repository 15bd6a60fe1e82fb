"""What a prompt hands over beside the customer's words: results of earlier steps, knowledge, history, small facts.

Prompts are free text, so this goes by headings (`What our desk found:`), speakers, tags, objects and the stand-in's own stamp.
"""

from __future__ import annotations

import ast
import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connectors.rehearsal.lexicon import bag

STAMP = "(rehearsal model)"
CUT = "\x00"
"""Stands in the text where the customer's words were."""

Kind = Literal["result", "knowledge", "history", "context"]
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][\w-]{0,40})(?P<rest>[^<>\n]{0,200})>")
_HEADING = re.compile(r"^[ \t#>*]*(?P<label>[A-Za-zÀ-þ][\w ()'’/,&›-]{0,80}?)(?<!\d)[ \t*]*[:：](?!//)[ \t]*(?P<value>.*)$")
_CLOSING = re.compile(r"[.!?][ \t]+(?P<label>[A-Za-zÀ-þ][\w ()'’/,&-]{0,80})[:：](?P<value>)[ \t]*$")
"""A heading at the end of a line of instructions."""
_KINDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("history", bag("history transcript conversation previous earlier said before oldest chat")),
    (
        "knowledge",
        bag("knowledge help pages policy policies passages documents faq articles sources advice"),
    ),
    ("result", bag("found did result results outcome findings desk draft output done")),
    ("context", bag("intent category entities confidence date today language channel tone number mail email customer id name")),
)
_SPEAKERS = bag("customer agent user assistant human bot support")
_ORDERS = bag(
    "task goal instructions instruction rules rule note notes guidelines guideline steps step requirements example examples "
    "important functions respond extract intents categories options format"
)
_IMPERATIVES = bag(
    "use write keep give answer do never say look report advise tell judge find choose sort make be only reply respond settle "
    "please you begin begins note assemble combine"
)
_ANSWER_KEYS = ("response", "answer", "reply", "text", "message", "summary")
_PATH = "›"
"""Joins the headings above a passage in its title."""
_SHORT = 6
_LONGEST_TITLE = 4
_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Material:
    """A piece of what the prompt hands over; `data` when it was written as an object."""

    kind: Kind
    label: str
    text: str
    data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """`<name rest>text</name>` at start..end."""

    name: str
    rest: str
    text: str
    start: int
    end: int


def sections(text: str) -> list[Section]:
    """The outermost tagged parts, in order. A tag that is never closed is text. Linear in the text."""
    tags = list(_TAG.finditer(text))
    closings: dict[str, list[int]] = {}
    for at, tag in enumerate(tags):
        if tag["close"]:
            closings.setdefault(tag["name"].lower(), []).append(at)
    found, at = list[Section](), 0
    while at < len(tags):
        tag = tags[at]
        places = closings.get(tag["name"].lower(), [])
        after = bisect_right(places, at)
        if tag["close"] or after == len(places):
            at += 1
            continue
        closing = tags[places[after]]
        found.append(Section(tag["name"], tag["rest"], text[tag.end() : closing.start()], tag.start(), closing.end()))
        at = places[after] + 1
    return found


def materials(text: str) -> list[Material]:
    """The pieces of a prompt without its customer's words, in order."""
    rest, end = "", 0
    pieces = _Pieces()
    for section in sections(text):
        pieces.area = _named(f"{section.name} {section.rest}")
        pieces.label = section.name
        pieces.lines(section.text)
        rest, end = f"{rest}{text[end : section.start]}\n{CUT}\n", section.end
    pieces.cut()
    pieces.lines(rest + text[end:])
    return pieces.found


class _Pieces:
    """Collects blocks of lines; a heading alone on its line rules what follows, until a cut or another such heading."""

    def __init__(self) -> None:
        self.found: list[Material] = []
        self.area: Kind | None = None
        self.label = ""
        self._block: list[str] = []
        self._last: Kind | None = None

    def lines(self, text: str) -> None:
        for line in text.splitlines():
            if line.strip() == CUT:
                self.cut()
                continue
            if not line.strip():
                self._flush()
                continue
            heading = None if line.lstrip().startswith(("{", "[", "-", "•")) else _HEADING.match(line) or _CLOSING.search(line)
            if heading is None or (self._block and self.area == "knowledge" and not _titles(heading["label"])):
                self._block.append(line)
                continue
            self._flush()
            self.label = heading["label"].strip()
            if heading["value"].strip():
                self._block = [heading["value"]]
            elif (area := _named(self.label)) is not None:
                self.area = area
        self._flush()

    def cut(self) -> None:
        self._flush()
        self.area, self.label, self._last = None, "", None

    def _flush(self) -> None:
        text, label = "\n".join(self._block).strip(), self.label
        self._block = []
        if not text:
            return
        self.label = ""
        kind = self._kind(label, text)
        if kind is None:
            self.area = None
        else:
            self.found.append(_material(kind, label, text))
        self._last = kind

    def _kind(self, label: str, text: str) -> Kind | None:
        """None: an instruction."""
        if label.lower() in _SPEAKERS and self.area != "result":
            return "history"
        if STAMP in text and self.area != "history":
            return "result"
        if label:
            if set(_words(label)) & _ORDERS:
                return None
            if self.area in ("history", "knowledge") or _PATH in label:
                return self.area or "knowledge"
            short = len(text.split()) <= _SHORT and as_object(text) is None
            return "context" if short else _named(label) or self.area or "knowledge"
        if as_object(text) is not None:
            return self.area or "result"
        inherited = self.area or (self._last if self._last in ("history", "knowledge") else None)
        begun = _words(text[:40])[:1]
        return None if begun and begun[0] in _IMPERATIVES else inherited


def _titles(label: str) -> bool:
    """Looks like a passage's title, not like the beginning of a sentence with a colon in it."""
    return _PATH in label or len(label.split()) <= _LONGEST_TITLE


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _named(label: str) -> Kind | None:
    told = set(_words(label))
    return next((kind for kind, names in _KINDS if told & names), None)


def _material(kind: Kind, label: str, text: str) -> Material:
    data = as_object(text)
    if data is None:
        return Material(kind, label, clean(text)[:_LONGEST])
    told = next((data[key] for key in _ANSWER_KEYS if isinstance(data.get(key), str) and data[key].strip()), "")
    return Material("result" if told and kind != "history" else kind, label, clean(told), data)


def as_object(text: str) -> dict[str, Any] | None:
    """The text as an object when it is one, written as JSON or as Python shows a dict."""
    stripped = text.strip()
    if not stripped.startswith("{") or not stripped.endswith("}") or len(stripped) > 100_000:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(stripped)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        return value if isinstance(value, dict) else None
    return None


def clean(text: str) -> str:
    """Without the stand-in's own stamp, which each output gets once, at its end."""
    return text.replace(STAMP, "").strip()


def last_said(history: Sequence[Material]) -> str:
    """What the customer said last before the message, if the history tells."""
    return next((said.text for said in reversed(history) if said.label.lower() in ("customer", "user", "human")), "")
