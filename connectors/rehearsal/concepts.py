"""What a message is about: its distance to phrases of some twenty shop concepts, by embedding and by words.

A ridge regression over those phrases, solved once at load (0.1 s), so that what all phrases share (I want to, could you)
weighs nothing. It learns from concepts.toml alone.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectors.embeddings import WordVectors, load_wordllama
from connectors.rehearsal.lexicon import Speller, bag, in_english, words

Vector = NDArray[np.float32]

_EMBEDDING_SHARE = 0.55
_RIDGE = 0.35
_SHARPNESS = 6.0
_FAMILIAR = 0.45
"""A score from which on a text is surely about some concept; phrases themselves score about 1."""
_SENTENCES = 120
"""More are not read: what a customer wants stands in the first lines or the last."""
_THING = re.compile(r"\b(?:item|items|product|order|purchase|package|parcel)\b(?! number)")
_FUNCTION_WORDS = bag(
    "a about all am an and any are as at be been but by can could did do does for from get give go had has "
    "have hello help hi how i if in into is it its just know like me my need no not now of on or our out "
    "please so some tell that the their them then there they this to up us was we what when where which who "
    "why will with would you your much many want still yet"
)
_SPLIT = re.compile(
    r"(?<=[.!?…。！？])\s+|\n+|;\s+|(?<=[。！？])|,\s+(?=\w+\s+\w+\s+\w+)|\s+(?:but|and|so)\s+(?=\w+\s+\w+\s+\w+)"
)
_NUMBERED = re.compile(
    r"(?:\b(?:order|ord|bestellung|commande|pedido|ordine)\b[\s-]*(?:no\.?|nr\.?|number)?\s*)?#\s?\d{3,}|\bord[-_]?\d{3,}",
    re.IGNORECASE,
)
_FACES = {
    "😡": " angry ",
    "🤬": " furious ",
    "😠": " angry ",
    "👎": " terrible ",
    "💩": " garbage ",
    "📦": " package ",
    "😤": " angry ",
}


@dataclass(frozen=True, slots=True)
class Concept:
    """A thing people write about. See concepts.toml for what the fields mean."""

    name: str
    names: frozenset[str]
    weak: frozenset[str]
    kin: tuple[str, ...]
    says: tuple[str, ...]


def stem(word: str) -> str:
    """A crude English stem: enough that `returned` meets `return`."""
    for ending in ("ings", "ing", "ies", "ied", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@dataclass(frozen=True, slots=True)
class Primer:
    """What the model learns from: the concepts, and words that say nothing about any of them."""

    concepts: tuple[Concept, ...]
    openings: tuple[str, ...]
    goods: tuple[str, ...]


def read_primer() -> Primer:
    table = tomllib.loads((Path(__file__).parent / "concepts.toml").read_text(encoding="utf-8"))
    openings, goods = tuple(table.pop("openings")), tuple(table.pop("goods"))
    concepts = tuple(
        Concept(name, frozenset(row["names"]), frozenset(row.get("weak", ())), tuple(row.get("kin", ())), tuple(row["says"]))
        for name, row in table.items()
    )
    return Primer(concepts, openings, goods)


class ConceptModel:
    """Texts as points (embedding beside weighted words), and what they say about each concept."""

    def __init__(self, vectors: WordVectors) -> None:
        self.vectors = vectors
        primer = read_primer()
        self.concepts = primer.concepts
        phrases, owners = _training(primer)
        counts = Counter(stem(word) for phrase in phrases for word in set(words(phrase)))
        self._column = {word: at for at, word in enumerate(sorted(counts))}
        self._idf = np.array([np.log(1 + len(phrases) / counts[word]) for word in sorted(counts)], dtype=np.float32)
        self.vocabulary = frozenset(word for phrase in phrases for word in words(phrase)) | _FUNCTION_WORDS
        # Only words that decide are worth mending: a slip elsewhere costs little, a wrong guess a lot.
        self._speller = Speller(
            {word for concept in self.concepts for name in concept.names | concept.weak for word in words(name)}
        )
        self._centre = vectors.embed(phrases).mean(axis=0)
        self._smalltalk = [concept.name for concept in self.concepts].index("smalltalk")
        points = self.points(phrases)
        wanted = np.full((len(phrases), len(self.concepts)), 0.0, dtype=np.float32)
        wanted[np.arange(len(phrases)), owners] = 1.0
        gram = points @ points.T + _RIDGE * np.eye(len(phrases), dtype=np.float32)
        self._weights: Vector = points.T @ np.linalg.solve(gram, wanted)

    def normalise(self, text: str) -> tuple[str, str]:
        """The text as the model reads it (English glosses, slips mended), and the language it came in."""
        for face, word in _FACES.items():
            text = text.replace(face, word)
        english, language = in_english(_NUMBERED.sub(" order number ", text), self.vocabulary)
        tokens = words(english)
        return " ".join(self._mend(token) for token in tokens), language

    def _mend(self, token: str) -> str:
        if token in self.vocabulary or len(token) < 4 or len(self.vectors.ids(token)) == 1:
            return token
        return self._speller.mend(token)

    def points(self, texts: Sequence[str]) -> Vector:
        """Shape (texts, embedding + words); texts are normalised already."""
        embedded = self.vectors.embed(texts)
        spoken = np.abs(embedded).sum(axis=1, keepdims=True) > 0
        embedded = np.where(spoken, embedded - self._centre, 0)
        bags = np.zeros((len(texts), len(self._column)), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in set(words(text)):
                if (column := self._column.get(stem(word))) is not None:
                    bags[row, column] = self._idf[column]
        return np.hstack([_unit(embedded) * _EMBEDDING_SHARE**0.5, _unit(bags) * (1 - _EMBEDDING_SHARE) ** 0.5]).astype(
            np.float32
        )

    def read(self, text: str) -> Vector:
        """Probability of each concept, in the order of `concepts`. What is missing from 1 is what none of them knows: all of
        it for a text without words."""
        sentences = [sentence for sentence in _SPLIT.split(text) if sentence.strip()]
        if len(sentences) > _SENTENCES:
            sentences = sentences[: _SENTENCES // 2] + sentences[-_SENTENCES // 2 :]
        read = [self.normalise(sentence)[0] for sentence in sentences]
        read = [sentence for sentence in read if sentence]
        if not read:
            return np.zeros(len(self.concepts), dtype=np.float32)
        if len(read) > 1:
            read.append(" ".join(read)[:2000])
        scores = self.points(read) @ self._weights
        strength = scores.max(axis=0) + 0.5 * scores[-1]
        # A greeting is what a message is about only when there is little else in it.
        strength[self._smalltalk] -= 0.06 * max(0, sum(len(sentence.split()) for sentence in read[:3]) - 3)
        odds = np.exp(_SHARPNESS * (strength - strength.max()))
        known = min(1.0, max(0.0, float(scores.max()) / _FAMILIAR) ** 2)
        return np.asarray(known * odds / odds.sum(), dtype=np.float32)


def _training(primer: Primer) -> tuple[list[str], list[int]]:
    """Each phrase alone, after an opening, and about some goods instead of "the item", with the index of its concept."""
    openings, goods = cycle(primer.openings), cycle(primer.goods)
    phrases: list[str] = []
    owners: list[int] = []
    for at, concept in enumerate(primer.concepts):
        for phrase in concept.says:
            phrases += [phrase, f"{next(openings)} {phrase}"]
            owners += [at, at]
            if _THING.search(phrase):
                phrases.append(_THING.sub(next(goods), phrase))
                owners.append(at)
    return phrases, owners


def _unit(rows: Vector) -> Vector:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


@cache
def concept_model() -> ConceptModel:
    """The one model of this process. Raises EmbeddingsError without the extra `embedded`."""
    return ConceptModel(load_wordllama()[0])
