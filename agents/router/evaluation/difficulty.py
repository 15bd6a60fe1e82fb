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


@dataclass(frozen=True, slots=True)
class Learned:
    gain: Gain
    held_out: Floats
    """For each prompt that was learned from: what the others of them would have predicted."""


def learn(features: Floats, gains: Floats, places: NDArray[np.intp]) -> Learned:
    """Learn from these prompts alone. `features`: (prompts, n); `gains`: strong minus weak quality, -1..1.

    `places`: a number for each prompt, equal where a prompt occurs twice, so that none is learned from and left out at once.

    Of PENALTIES it takes the one with the smallest squared error on prompts that were left out while learning.
    """
    left_out = np.zeros((len(PENALTIES), len(gains)))
    _, order = np.unique(places, return_inverse=True)
    for start in range(PARTS):
        part, rest = np.flatnonzero(order % PARTS == start), np.flatnonzero(order % PARTS != start)
        for at, gain in enumerate(_fits(features[rest], gains[rest], PENALTIES)):
            left_out[at, part] = gain.predict(features[part])
    best = int(((left_out - gains) ** 2).sum(axis=1).argmin())
    [gain] = _fits(features, gains, PENALTIES[best : best + 1])
    return Learned(gain, left_out[best])


def _fits(features: Floats, gains: Floats, penalties: Sequence[float]) -> list[Gain]:
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread < 1e-9, 1.0, spread)
    scaled, base = (features - middle) / spread, float(gains.mean())
    squares, goal, ones = scaled.T @ scaled, scaled.T @ (gains - base), np.eye(features.shape[1])
    return [Gain(np.linalg.solve(squares + penalty * ones, goal), middle, spread, base) for penalty in penalties]
