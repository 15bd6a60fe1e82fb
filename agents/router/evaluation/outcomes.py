"""Recorded outcomes: for each prompt, whether the strong and the weak model got it right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST = 20
"""Different prompts without which the parts would be too small to learn from."""


class UnusableOutcomes(ValueError):
    """The message names the line, what is wrong with it and what to write."""


@dataclass(frozen=True, slots=True)
class Outcome:
    prompt: str
    strong: float
    """Quality of the strong model's answer: 0 (wrong) to 1 (right)."""
    weak: float


def read_outcomes(lines: Iterable[str]) -> list[Outcome]:
    """One JSON object a line: {"prompt": text, "strong_correct": bool or 0..1, "weak_correct": the same}; more keys are ignored.

    Raises UnusableOutcomes.
    """
    found: list[Outcome] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix("\ufeff"))
        except (ValueError, RecursionError) as error:
            raise UnusableOutcomes(f"line {number} is no JSON: {error}. Write one object a line.") from error
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise UnusableOutcomes(
                f'line {number} has no text under "prompt": write {{"prompt": "…", "strong_correct": true, …}}.'
            )
        found.append(Outcome(row["prompt"], _quality(row, "strong_correct", number), _quality(row, "weak_correct", number)))
    different = len({each.prompt for each in found})
    if different < FEWEST:
        raise UnusableOutcomes(f"it has {different} different prompts: a policy can be judged on {FEWEST} or more.")
    return found


def places(outcomes: Sequence[Outcome]) -> list[int]:
    """A number for each outcome, by its prompt alone: from 0 without a gap, and the same where a prompt occurs twice."""
    prompts = sorted({each.prompt for each in outcomes}, key=lambda prompt: hashlib.sha256(_bytes(prompt)).digest())
    place = {prompt: at for at, prompt in enumerate(prompts)}
    return [place[each.prompt] for each in outcomes]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _quality(row: dict[str, Any], key: str, number: int) -> float:
    value = row.get(key)
    if isinstance(value, (bool, int, float)) and 0 <= value <= 1:
        return float(value)
    raise UnusableOutcomes(f"line {number} has {value!r} under {key!r}: write true, false, or a quality from 0 to 1.")
