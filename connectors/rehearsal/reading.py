"""Takes a prompt apart: the customer's words, what is handed over beside them, the instruction, what labels mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from connectors.rehearsal.classify import Label
from connectors.rehearsal.materials import CUT, Kind, Material, last_said, materials, sections

_CUSTOMERS = re.compile(
    r"(?:customer_|user_)?(?:message|query|question|inquiry|input)|customer(?:_text)?",
    re.IGNORECASE,
)
_LABELLED = re.compile(
    r"(?:^|(?<=[.!?][ \t]))[ \t>*-]*(?:(?:the|latest|current|original|new|end)[ \t]+)*"
    r"(?:customer|user|client|buyer)?(?:['’]s)?[ \t_]*"
    r"(?:message|query|question|inquiry|enquiry|request|text|wrote|writes|says|said|asks|asked|complaint|input)"
    r"[ \t*]*[:：][ \t]*(?P<rest>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_SPEAKING = re.compile(r"^[ \t>*-]*(?:customer|user|client|buyer)[ \t*]*[:：][ \t]*(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)
"""`Customer: where is my order?`, where nothing says more clearly what the customer wrote."""
_QUOTED = re.compile(r"\s*(\"\"\"|'''|```|\"|'|“|«)(.*?)(\"\"\"|'''|```|\"|'|”|»)\s*(?=\n|$)", re.DOTALL)
_BLOCK_END = re.compile(r"\n[ \t]*\n|\n(?=[A-Z][\w ]{1,40}:)")
_BLANKS = re.compile(r"[ \t\u00a0]{2,}")
_NOTHING = "(The customer's message is empty"
_FEW_WORDS = 2
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Reading:
    instruction: str
    """Everything but the customer's words: the system prompt and `asked`."""
    asked: str
    customer: str
    materials: tuple[Material, ...] = field(default_factory=tuple)

    def of(self, kind: Kind) -> list[Material]:
        return [material for material in self.materials if material.kind == kind]

    @property
    def meant(self) -> str:
        """The customer's words; when they are hardly any (`#1002`), after what the customer said before."""
        if len(_WORD.findall(self.customer)) > _FEW_WORDS or not self.customer:
            return self.customer
        before = last_said(self.of("history"))
        return f"{before}\n{self.customer}" if before else self.customer


def read(system: str, user: str) -> Reading:
    """Both prompts taken apart. Works on any text; without marks, the last paragraph counts as the customer's."""
    # Runs of blanks say nothing and make patterns slow.
    system, user = _BLANKS.sub(" ", system), _BLANKS.sub(" ", user.replace(CUT, ""))
    customer, rest = _customer(user)
    asked = rest.replace(CUT, "")
    if customer.startswith(_NOTHING):
        customer = ""
    return Reading(f"{system}\n{asked}".strip(), asked, customer, tuple(materials(rest)))


def _customer(user: str) -> tuple[str, str]:
    """The customer's words, and the prompt with CUT in their place."""
    for section in reversed(sections(user)):
        if _CUSTOMERS.fullmatch(section.name):
            return section.text.strip(), f"{user[: section.start]}\n{CUT}\n{user[section.end :]}"
    spoken = [line for line in _SPEAKING.finditer(user) if len(_WORD.findall(line["rest"])) > _FEW_WORDS]
    for found in reversed(list(_LABELLED.finditer(user)) or spoken):
        start = found.start("rest")
        if quoted := _QUOTED.match(user, start):
            text, end = quoted.group(2), quoted.end()
        else:
            stop = _BLOCK_END.search(user, start)
            end = stop.start() if stop else len(user)
            text = user[start:end]
        return text.strip(), f"{user[: found.start()]}\n{CUT}\n{user[end:]}"
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", user) if part.strip()]
    return (paragraphs[-1].strip(), "\n\n".join(paragraphs[:-1])) if paragraphs else ("", "")


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
