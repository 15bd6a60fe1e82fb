"""What is wrong with a workflow: where, why, and what to write instead. Says nothing about how it is found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

KeyPath = tuple[str | int, ...]
"""Where a value stands in the file: `("workflow", "nodes", 0, "id")`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing an author should change. A warning leaves the workflow runnable."""

    file: str
    line: int
    path: KeyPath
    message: str
    remedy: str
    severity: Literal["error", "warning"] = "error"
    code: str = ""
    """For programs: `cycle`, `unknown-agent`, …"""

    def __str__(self) -> str:
        kind = "" if self.severity == "error" else "warning: "
        message = self.message if self.message.endswith((".", "?", "!")) else f"{self.message}."
        return f"{self.file}:{self.line}: {kind}{message} → {self.remedy}"


class InvalidWorkflow(Exception):
    """The text is no workflow. `faults` has every reason, in the order of the file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """By line, then as found; each once."""
    return sorted(dict.fromkeys(faults), key=lambda fault: fault.line)


def errors(faults: Iterable[Fault]) -> list[Fault]:
    """Those that keep the workflow from running."""
    return [fault for fault in faults if fault.severity == "error"]


def nearest(word: str, known: Iterable[str]) -> str:
    """The known words that look like `word`, for a remedy: "`a` or `b`", empty without any."""
    by_lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=2, cutoff=0.6)
    if not matches and len(word) > 3:
        matches = [name for name in by_lower if name.startswith(word.lower()[:4])][:2]
    return " or ".join(f"`{by_lower[match]}`" for match in matches)


def did_you_mean(word: str, known: Sequence[str], *, otherwise: str = "") -> str:
    """ "did you mean `x`?", or the whole choice when nothing looks alike."""
    if close := nearest(word, known):
        return f"did you mean {close}?"
    if otherwise:
        return otherwise
    shown = ", ".join(f"`{name}`" for name in list(known)[:12])
    return f"use one of {shown}{', …' if len(known) > 12 else ''}" if shown else "there is none to choose from"
