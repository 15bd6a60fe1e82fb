"""How strongly a message is felt, its language, and what kind of answer suits it: coarse readings over the concepts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from connectors.rehearsal.concepts import ConceptModel
from connectors.rehearsal.lexicon import bag

_STRONG = re.compile(
    r"\b(?:furious|unacceptable|outrageous|disgrace\w*|lawyer|legal|sue|police|scam|fraud|thieves|never again|worst|disgusting|"
    r"immediately|injur\w*|hurt|dangerous|fire|burn\w*|allerg\w*|unverschämt\w*|anwalt|inacceptable|inadmissible|inaceptable|"
    r"abogado|avvocato)\b|[😡🤬]|!!!|投诉",
    re.IGNORECASE,
)
_URGENT = re.compile(r"\b(?:urgent\w*|asap|immediately|right now|today|dringend|sofort|urgente?|subito)\b", re.IGNORECASE)
_GLAD = frozenset(("praise",))
_SORE = frozenset(("dissatisfaction", "defect"))
SEVERITIES = (
    bag("low minor normal none calm"),
    bag("medium moderate annoyed"),
    bag("high severe major urgent angry"),
    bag("critical furious"),
)


def severity(model: ConceptModel, text: str) -> int:
    """0 low, 1 medium, 2 high: strong words and capitals on top of what the message is about."""
    about = dict(zip((concept.name for concept in model.concepts), model.read(text).tolist(), strict=True))
    sore = sum(about[name] for name in _SORE)
    letters = [char for char in text if char.isalpha()]
    shouting = len(letters) > 12 and sum(char.isupper() for char in letters) > 0.6 * len(letters)
    marks = len(_STRONG.findall(text)) + shouting + bool(_URGENT.search(text))
    if marks >= 2 or (marks and sore > 0.5):
        return 2
    return 1 if marks or sore > 0.3 else 0


def sentiment(model: ConceptModel, text: str) -> str:
    """positive, neutral or negative."""
    about = dict(zip((concept.name for concept in model.concepts), model.read(text).tolist(), strict=True))
    if sum(about[name] for name in _SORE) > 0.4 or _STRONG.search(text):
        return "negative"
    return "positive" if sum(about[name] for name in _GLAD) > 0.4 else "neutral"


def on_scale(values: Sequence[str], level: int) -> str | None:
    """The value of a severity enum for a level, or None when the enum is no such scale."""
    places = {value: rank for value in values for rank, names in enumerate(SEVERITIES) if value.lower() in names}
    if len(places) < 2 or len(places) < len(values) - 1:
        return None
    return min(places, key=lambda value: (abs(places[value] - level), places[value]))
