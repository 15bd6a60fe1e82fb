"""Takes a prompt apart: the customer's words, what earlier steps found, knowledge, history, and the instruction around them."""

from __future__ import annotations

import ast
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from connectors.rehearsal.classify import Label
from connectors.rehearsal.lexicon import bag

STAMP = "(rehearsal model)"

Kind = Literal["result", "knowledge", "history", "context"]
_CUSTOMER_TAG = r"(?:customer_|user_)?(?:message|query|question|inquiry|input)|customer(?:_text)?"
_CUSTOMERS = re.compile(_CUSTOMER_TAG, re.IGNORECASE)
_LABELLED = re.compile(
    r"^[ \t>*-]*(?:(?:the|latest|current|original|new|end)[ \t]+)*(?:customer|user|client|buyer)?(?:['’]s)?[ \t_]*"
    r"(?:message|query|question|inquiry|enquiry|request|text|wrote|writes|says|said|asks|asked|complaint|input)"
    r"[ \t*]*[:：][ \t]*(?P<rest>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][\w-]{0,40})(?P<rest>[^<>\n]{0,200})>")
_BLANKS = re.compile(r"[ \t\u00a0]{2,}")
_HEADING = re.compile(r"^[ \t#>*-]*(?P<label>[A-Za-z][\w ()'’/-]{0,48}?)[ \t*]*[:：][ \t]*(?P<value>.*)$")
_QUOTES = re.compile(r"^\s*(\"\"\"|'''|```|\"|'|“|«)(.*?)(\"\"\"|'''|```|\"|'|”|»)\s*", re.DOTALL)
_KINDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("history", bag("history conversation transcript previous earlier turns chat")),
    (
        "knowledge",
        bag("knowledge policy policies passages passage document documents faq articles article sources facts"),
    ),
    (
        "context",
        bag("intent category entities confidence classification labels date today language channel tone format"),
    ),
)
_ORDERS = bag(
    "task goal instructions instruction rules rule note notes output guidelines guideline steps step "
    "requirements example examples important functions respond answer return extract intents categories "
    "options"
)
_ANSWER_KEYS = ("response", "answer", "reply", "text", "message", "summary")
_VALUE_LIMIT = 4000


@dataclass(frozen=True, slots=True)
class Material:
    """A piece of what the prompt hands over; `data` when it was written as an object."""

    kind: Kind
    label: str
    text: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Reading:
    instruction: str
    """Everything but the customer's words: the system prompt and `asked`."""
    asked: str
    customer: str
    materials: tuple[Material, ...] = field(default_factory=tuple)

    def of(self, kind: Kind) -> list[Material]:
        return [material for material in self.materials if material.kind == kind]


def read(system: str, user: str) -> Reading:
    """Both prompts taken apart. Works on any text; without marks, the last paragraph counts as the customer's."""
    # Runs of blanks say nothing and make patterns slow.
    system, user = _BLANKS.sub(" ", system), _BLANKS.sub(" ", user)
    customer, rest = _customer(user)
    materials = tuple(_materials(rest))
    return Reading(f"{system}\n{rest}".strip(), rest, customer, materials)


def labels(values: Sequence[str], prompt: str, told: str = "") -> tuple[Label, ...]:
    """The enum's values with their descriptions, from lines like `- value: description` of the prompt or of `told`."""
    text = f"{told}\n{prompt}" if told else prompt
    return tuple(Label(value, _description(value, text)) for value in values)


def _description(value: str, text: str) -> str:
    found = _line_about(value).search(text)
    return found.group("told").strip().rstrip("`\"'*;,")[:400] if found else ""


@lru_cache(maxsize=1024)
def _line_about(value: str) -> re.Pattern[str]:
    spaced = r"[\s_-]?".join(re.escape(part) for part in re.split(r"[\s_-]", value) if part) or re.escape(value)
    opening = rf"(?:^|[;.(,])[ \t]*(?:[-*•]|\d+[.)])?[ \t]*[`\"'*]*{spaced}[`\"'*]*[ \t]*"
    return re.compile(opening + r"(?:[:：=]|\s[-—–]+\s|\()[ \t]*(?P<told>[^\n;]+)", re.IGNORECASE | re.MULTILINE)


def _customer(user: str) -> tuple[str, str]:
    """The customer's words and the prompt without them."""
    for section in reversed(_sections(user)):
        if _CUSTOMERS.fullmatch(section.name):
            return section.text.strip(), user[: section.start] + user[section.end :]
    for found in reversed(list(_LABELLED.finditer(user))):
        start = found.start("rest")
        quoted = _QUOTES.match(user[start:])
        if quoted:
            return quoted.group(2).strip(), user[: found.start()] + user[start + quoted.end() :]
        block = user[start:]
        end = re.search(r"\n[ \t]*\n|\n(?=[A-Z][\w ]{1,40}:)", block)
        taken = block[: end.start()] if end else block
        return taken.strip(), user[: found.start()] + user[start + len(taken) :]
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", user) if part.strip()]
    if not paragraphs:
        return "", ""
    return paragraphs[-1].strip(), "\n\n".join(paragraphs[:-1])


@dataclass(frozen=True, slots=True)
class _Section:
    """`<name rest>text</name>` at start..end."""

    name: str
    rest: str
    text: str
    start: int
    end: int


def _sections(text: str) -> list[_Section]:
    """The outermost tagged parts, in order. A tag that is never closed is text. Linear in the text."""
    tags = list(_TAG.finditer(text))
    closings: dict[str, list[int]] = {}
    for at, tag in enumerate(tags):
        if tag["close"]:
            closings.setdefault(tag["name"].lower(), []).append(at)
    found, at = list[_Section](), 0
    while at < len(tags):
        tag = tags[at]
        places = closings.get(tag["name"].lower(), [])
        after = bisect_right(places, at)
        if tag["close"] or after == len(places):
            at += 1
            continue
        closing = tags[places[after]]
        found.append(_Section(tag["name"], tag["rest"], text[tag.end() : closing.start()], tag.start(), closing.end()))
        at = places[after] + 1
    return found


def _materials(text: str) -> Iterator[Material]:
    rest, end = "", 0
    for section in _sections(text):
        yield _material(f"{section.name} {section.rest}", section.text)
        rest, end = f"{rest}{text[end : section.start]}\n", section.end
    rest += text[end:]
    label, lines = "", list[str]()
    for line in [*rest.splitlines(), ""]:
        heading = None if line.lstrip().startswith(("{", "[")) else _HEADING.match(line)
        if heading or not line.strip():
            if lines and any(part.strip() for part in lines):
                yield from _block(label, "\n".join(lines))
            label, lines = (heading["label"], [heading["value"]]) if heading else (label if not lines else "", [])
        else:
            lines.append(line)


def _block(label: str, text: str) -> Iterator[Material]:
    words = set(re.findall(r"[a-z]+", label.lower()))
    if words & _ORDERS and STAMP not in text:
        return
    if label or STAMP in text or text.lstrip().startswith("{"):
        yield _material(label, text)


def _material(label: str, text: str) -> Material:
    words = set(re.findall(r"[a-z]+", label.lower()))
    kind: Kind = next((kind for kind, names in _KINDS if words & names), "result")
    data = as_object(text)
    if data is not None:
        told = next((data[key] for key in _ANSWER_KEYS if isinstance(data.get(key), str) and data[key].strip()), "")
        return Material(kind if told == "" or kind == "history" else "result", label.strip(), clean(told), data)
    return Material("result" if STAMP in text and kind != "history" else kind, label.strip(), clean(text)[:_VALUE_LIMIT])


def as_object(text: str) -> dict[str, Any] | None:
    """The text as an object when it is one, written as JSON or as Python shows a dict."""
    stripped = text.strip()
    if not stripped.startswith("{") or not stripped.endswith("}") or len(stripped) > 100_000:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(stripped)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, dict) else None
    return None


def clean(text: str) -> str:
    """Without the stand-in's own stamp, which each output gets once, at its end."""
    return text.replace(STAMP, "").strip()
