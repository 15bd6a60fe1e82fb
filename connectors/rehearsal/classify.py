"""Chooses a label for a message: concepts the labels claim, and the message's own nearness to each description."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from connectors.rehearsal.concepts import Concept, ConceptModel, Vector
from connectors.rehearsal.lexicon import bag, words

_CATCH_ALL = bag("general other others misc miscellaneous unknown none else fallback default anything uncategorized unclear")
_DIRECT_SHARE = 0.15
_DIRECT_SHARPNESS = 8.0
_SILENCE = 0.55
"""Confidence in the catch-all for a message that says nothing."""


@dataclass(frozen=True, slots=True)
class Label:
    """One value of an enum; the description is what the prompt says about it, empty when nothing."""

    name: str
    description: str = ""

    @property
    def is_catch_all(self) -> bool:
        return bool(_CATCH_ALL & set(_name_words(self.name)))


@dataclass(frozen=True, slots=True)
class Choice:
    label: str
    confidence: float
    """0..1, from the margin over the runner-up."""
    ranking: tuple[tuple[str, float], ...]


class Classifier:
    """Holds what labels claim, worked out once a set of labels."""

    def __init__(self, model: ConceptModel) -> None:
        self.model = model
        self._claims = lru_cache(maxsize=256)(self._work_out)

    def choose(self, text: str, labels: Sequence[Label]) -> Choice:
        """The most likely label. `labels` has at least one; the same arguments give the same choice."""
        claims, points, informed = self._claims(tuple(labels))
        about = self.model.read(text)
        catch_all = next((at for at, label in enumerate(labels) if label.is_catch_all), None)
        if not about.any():
            at = 0 if catch_all is None else catch_all
            return Choice(labels[at].name, _SILENCE if catch_all is not None else round(1 / len(labels), 3), ())
        direct = self.model.points([self.model.normalise(text[:2000])[0]]) @ points.T
        odds = np.exp(_DIRECT_SHARPNESS * (direct[0] - direct[0].max()))
        share = _DIRECT_SHARE if informed else 1.0
        likely = (1 - share) * (about @ claims) + share * odds / odds.sum()
        if catch_all is not None:
            likely[catch_all] += (1 - share) * (1 - float(about.sum()))
        likely = likely / likely.sum()
        ranking = sorted(zip((label.name for label in labels), likely.tolist(), strict=True), key=lambda pair: -pair[1])
        margin = ranking[0][1] - (ranking[1][1] if len(ranking) > 1 else 0.0)
        return Choice(ranking[0][0], round(min(0.99, 0.5 + margin / 2), 2), tuple(ranking))

    def _work_out(self, labels: tuple[Label, ...]) -> tuple[Vector, Vector, bool]:
        """Concepts × labels: how much of a concept each label claims; the labels' points; whether any claim was made."""
        concepts = self.model.concepts
        raw = np.array([[_claim(concept, label) for label in labels] for concept in concepts], dtype=np.float32)
        points = self.model.points([_spoken(label) for label in labels])
        # Equal claims are settled by how near the concept's phrases are to the label's description.
        near = np.array([self.model.points(concept.says).mean(axis=0) @ points.T for concept in concepts], dtype=np.float32)
        informed = bool((raw > 0).any())
        catch_all = next((at for at, label in enumerate(labels) if label.is_catch_all), None)
        by_name = {concept.name: row for row, concept in enumerate(concepts)}
        claims = np.zeros_like(raw)
        for row, concept in enumerate(concepts):
            heirs = [row, *(by_name[name] for name in concept.kin)]
            heir = next((at for at in heirs if raw[at].max() > 0), None)
            if heir is not None:
                claims[row, int(np.argmax(raw[heir] + 0.01 * near[heir]))] = 1
            elif catch_all is not None:
                claims[row, catch_all] = 1
            else:
                odds = np.exp(_DIRECT_SHARPNESS * (near[row] - near[row].max()))
                claims[row] = odds / odds.sum()
        return claims, points, informed


def _claim(concept: Concept, label: Label) -> float:
    own, told = set(_name_words(label.name)), words(label.description)
    text = f" {' '.join(told)} "
    weight = 2.0 * len(own & concept.names) + 1.0 * len(own & concept.weak)
    named = [name for name in concept.names if (" " in name and f" {name} " in text) or name in told]
    weight += sum(1.2 if " " in name else 1.0 for name in named)
    if weight > 0:
        weight += 0.2 * len(concept.weak & set(told))
    return weight


def _name_words(name: str) -> list[str]:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").replace("-", " ")
    return words(spaced)


def _spoken(label: Label) -> str:
    return " ".join(_name_words(label.name) + words(label.description))
