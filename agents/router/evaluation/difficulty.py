"""How much a strong model would gain on a prompt, learned from outcomes of other prompts: ridge regression on what a text shows.

Hoerl and Kennard, Ridge Regression (1970). How strongly it is held back is chosen within the prompts it learns from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PENALTIES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
PARTS = 4
_MATHS = re.compile(r"[=+*/^<>%$\\]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CODE = re.compile(r"[{}();_`#]|\bdef\b|\breturn\b")
_CLAUSE = re.compile(r"[,;:]|\b(?:and|but|if|because|which|although|unless|while)\b", re.IGNORECASE)


def surface(prompts: Sequence[str]) -> Floats:
    """What a text shows without being understood. Shape (prompts, 10)."""
    rows = []
    for prompt in prompts:
        words = prompt.split()
        characters = max(1, len(prompt))
        rows.append(
            [
                np.log1p(len(prompt)),
                np.log1p(len(words)),
                np.log1p(len(_NUMBER.findall(prompt))),
                len(_MATHS.findall(prompt)) / characters,
                len(_CODE.findall(prompt)) / characters,
                np.log1p(len(_CLAUSE.findall(prompt))),
                np.log1p(prompt.count("?")),
                np.log1p(prompt.count("\n")),
                sum(map(len, words)) / max(1, len(words)),
                sum(not character.isascii() for character in prompt) / characters,
            ]
        )
    return np.array(rows, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Gain:
    """A fitted predictor of what the strong model gains."""

    weights: Floats
    middle: Floats
    spread: Floats
    base: float

    def predict(self, features: Floats) -> Floats:
        made: Floats = (features - self.middle) / self.spread @ self.weights + self.base
        return made


def fit(features: Floats, gains: Floats) -> Gain:
    """Learn from these prompts alone. `features`: (prompts, n); `gains`: strong minus weak quality, -1..1."""
    return _fit(features, gains, _penalty(features, gains))


def held_out(features: Floats, gains: Floats) -> Floats:
    """For each of these prompts the gain predicted by what was learned from the others of them."""
    penalty, predicted = _penalty(features, gains), np.zeros(len(gains))
    for part in _parts(len(gains)):
        rest = np.setdiff1d(np.arange(len(gains)), part)
        predicted[part] = _fit(features[rest], gains[rest], penalty).predict(features[part])
    return predicted


def _penalty(features: Floats, gains: Floats) -> float:
    """The one with the smallest squared error on prompts that were not learned from."""
    errors = np.zeros(len(PENALTIES))
    for part in _parts(len(gains)):
        rest = np.setdiff1d(np.arange(len(gains)), part)
        for at, penalty in enumerate(PENALTIES):
            missed = _fit(features[rest], gains[rest], penalty).predict(features[part]) - gains[part]
            errors[at] += float(missed @ missed)
    return PENALTIES[int(errors.argmin())]


def _parts(count: int) -> list[NDArray[np.intp]]:
    return [np.arange(start, count, PARTS) for start in range(min(PARTS, count))]


def _fit(features: Floats, gains: Floats, penalty: float) -> Gain:
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread < 1e-9, 1.0, spread)
    scaled, base = (features - middle) / spread, float(gains.mean())
    weights = np.linalg.solve(scaled.T @ scaled + penalty * np.eye(features.shape[1]), scaled.T @ (gains - base))
    return Gain(weights, middle, spread, base)
