"""What a verification found first: both sides of it, and where, for a person to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.base import Event

WIDTH = 2_000
"""Characters of one value that are shown."""

Kind = Literal["missing", "unexpected", "changed"]
_SAYS: Mapping[Kind, str] = {
    "missing": "today's reducer decides this, and the log does not have it",
    "unexpected": "the log has this, and today's reducer does not decide it",
    "changed": "today's reducer decides this differently from the log",
}


@dataclass(frozen=True, slots=True)
class Difference:
    kind: Kind
    cause: str | None
    """topic-partition@offset of the event that leads to the output, when there is one."""
    recorded_at: str | None
    """topic-partition@offset of the record in the log."""
    expected: Event | None
    recorded: Event | None
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Field → (today, recorded), for what changed."""
    reason: str | None = None
    hints: tuple[str, ...] = ()

    def __str__(self) -> str:
        some = self.expected or self.recorded
        lines = [_SAYS[self.kind]]
        if some is not None:
            run = getattr(some, "run_id", None)
            node = getattr(some, "node_id", None)
            where = f"conversation {some.conversation_id}" + (f", run {run}" if run else "") + (f", node {node}" if node else "")
            lines.append(f"  in        {where}")
        lines.append(f"  led to by {self.cause or 'no event in this period'}")
        lines.append(f"  recorded  {self.recorded_at or 'nowhere'}")
        if self.reason:
            lines.append(f"  why       {self.reason}")
        if self.fields:
            for name, (today, recorded) in self.fields.items():
                lines += [f"  {name}", f"    today     {_text(today)}", f"    recorded  {_text(recorded)}"]
        else:
            lines += [f"  today     {_event(self.expected)}", f"  recorded  {_event(self.recorded)}"]
        lines += [f"  note      {hint}" for hint in self.hints]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "cause": self.cause,
            "recorded_at": self.recorded_at,
            "expected": _dump(self.expected),
            "recorded": _dump(self.recorded),
            "fields": {name: {"today": today, "recorded": recorded} for name, (today, recorded) in self.fields.items()},
            "reason": self.reason,
            "hints": list(self.hints),
        }


class Differs(Exception):
    """Raised where the first difference shows."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


def _dump(event: Event | None) -> dict[str, Any] | None:
    return None if event is None else {"type": event.TYPE, **event.model_dump(mode="json")}


def _event(event: Event | None) -> str:
    return "nothing" if event is None else f"{event.TYPE} {_text(event.model_dump(mode='json'))}"


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}… ({len(text):,} characters)"
