"""Shop words of a dozen languages as English glosses, and slips of the keyboard as the word that was meant.

The word vectors know English best; this brings other messages nearer to it. It knows words, no sentences.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_LONGEST_PREFIX = 14
_TAILS = {"ve": "have", "re": "are", "ll": "will", "m": "am", "d": "would"}


def bag(text: str) -> frozenset[str]:
    """The words of a list written as one string."""
    return frozenset(text.split())


_CONTRACTED = bag("where what who how it that there here when he she")


@dataclass(frozen=True, slots=True)
class Tongue:
    """One language's glosses by how they match."""

    whole: dict[str, str]
    prefixes: dict[str, str]
    phrases: dict[str, str]

    def gloss(self, word: str) -> str | None:
        if found := self.whole.get(word):
            return found
        for length in range(min(len(word), _LONGEST_PREFIX), 1, -1):
            if found := self.prefixes.get(word[:length]):
                return found
        return None


@cache
def _tongues() -> tuple[dict[str, Tongue], dict[str, str]]:
    tables = tomllib.loads((Path(__file__).parent / "lexicon.toml").read_text(encoding="utf-8"))
    han = tables.pop("han")
    tongues = {}
    for language, table in tables.items():
        tongues[language] = Tongue(
            whole={key: gloss for key, gloss in table.items() if not key.endswith("*") and " " not in key},
            prefixes={key[:-1]: gloss for key, gloss in table.items() if key.endswith("*")},
            phrases={key: gloss for key, gloss in table.items() if " " in key},
        )
    return tongues, han


def words(text: str) -> list[str]:
    """The words of a text, lower case, with English contractions as the words they stand for."""
    return [part for match in WORD.finditer(text) for part in _spelled_out(match.group().lower().replace("’", "'"))]


def _spelled_out(word: str) -> list[str]:
    head, _, tail = word.partition("'")
    if tail == "s" and head in _CONTRACTED:
        return [head, "is"]
    if word in ("can't", "won't"):
        return ["can" if head == "can" else "will", "not"]
    if tail == "t" and head.endswith("n") and len(head) > 2:
        return [head[:-1], "not"]
    return [head, _TAILS[tail]] if tail in _TAILS else [word]


def in_english(text: str, known: Collection[str]) -> tuple[str, str]:
    """The text's shop words in English and the language they came from; the text itself and `en` when it is English.

    `known` are English words: a word of theirs is no evidence for another language.
    """
    tongues, han = _tongues()
    if _HAN.search(text):
        glosses = [gloss for key, gloss in han.items() if key in text]
        return (" ".join(glosses), "han") if glosses else (text, "und")
    tokens = words(text)
    if not tokens:
        return text, "und"
    counts = Counter(tokens)
    english = sum(count for token, count in counts.items() if token in known)
    if english >= 0.6 * len(tokens):
        return text, "en"
    votes: dict[str, int] = {}
    for language, tongue in tongues.items():
        votes[language] = sum(count for token, count in counts.items() if tongue.gloss(token) and token not in known)
    language, best = max(votes.items(), key=lambda vote: vote[1], default=("en", 0))
    if best == 0 or best * 2 < english:
        return text, "en"
    tongue = tongues[language]
    lowered = text.lower()
    found = [gloss for phrase, gloss in tongue.phrases.items() if phrase in lowered]
    return " ".join(found + [gloss for token in tokens if (gloss := tongue.gloss(token))]), language


class Speller:
    """Finds the known word one slip away (a letter lost, added, changed, or two swapped). Words under four letters stay."""

    def __init__(self, vocabulary: Collection[str]) -> None:
        self._known = frozenset(vocabulary)
        self._by_deletion: dict[str, str] = {}
        for word in sorted(vocabulary, key=lambda word: (len(word), word)):
            if len(word) >= 4:
                for form in _deletions(word):
                    self._by_deletion.setdefault(form, word)

    def mend(self, word: str) -> str:
        """The word meant, or the word itself."""
        if len(word) < 4 or len(word) > 20 or word in self._known:
            return word
        for form in _deletions(word):
            found = self._by_deletion.get(form)
            if found and abs(len(found) - len(word)) <= 1 and found[0] == word[0]:
                return found
        return word


def _deletions(word: str) -> list[str]:
    return [word] + [word[:at] + word[at + 1 :] for at in range(len(word))]
