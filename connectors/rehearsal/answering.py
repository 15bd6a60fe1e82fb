"""Writes the answer in prose: what tools found, what earlier steps said, or the nearest knowledge. Always ends with the stamp."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.rehearsal import mood
from connectors.rehearsal.classify import Classifier
from connectors.rehearsal.concepts import ConceptModel, stem
from connectors.rehearsal.extraction import order_numbers
from connectors.rehearsal.lexicon import words
from connectors.rehearsal.materials import STAMP, Material
from connectors.rehearsal.reading import Reading
from connectors.rehearsal.telling import about, sentence
from connectors.rehearsal.toolcalls import Observation

_NEAR_ENOUGH = 0.25
_GRAVE = 2
_HAS_KNOWLEDGE = re.compile(r"help pages?|knowledge|polic|document|faq|passage|article|sources?\b", re.IGNORECASE)
_COMPLAINT = re.compile(r"\bcomplain", re.IGNORECASE)


def answer(reading: Reading, seen: Sequence[Observation], classifier: Classifier) -> str:
    """Complete sentences for the customer."""
    parts = [*_opening(reading, seen, classifier), *_found(seen)]
    if not seen:
        parts += _handed_over(reading) or _from_knowledge(reading, classifier) or ([] if parts else _asking(reading, classifier))
    elif not parts:
        parts = ["I have looked into your message."]
    text = " ".join(dict.fromkeys(sentence(part) for part in parts if part.strip()))
    return f"{text} {STAMP}"


def _opening(reading: Reading, seen: Sequence[Observation], classifier: Classifier) -> list[str]:
    if not _COMPLAINT.search(reading.asked) or _handed_over(reading):
        return []
    told = any(one.ok and "slack" in one.name for one in seen)
    orders = order_numbers(reading.customer)
    about_order = f" with order {orders[0]}" if orders else ""
    grave = mood.severity(classifier.model, reading.customer) == _GRAVE
    steps = ["I have told a supervisor at once."] if told and grave else []
    return [f"I am sorry for the trouble you had{about_order}.", *steps, "A colleague takes over from here and will be in touch."]


def _found(seen: Sequence[Observation]) -> list[str]:
    """Results as sentences, what concerns the same order said once; then what failed."""
    orders: dict[str, dict[str, Any]] = {}
    others: list[Mapping[str, Any]] = []
    for one in seen:
        if one.ok and "order_id" in one.data and "resolution" not in one.data:
            fresh = {key: value for key, value in one.data.items() if value not in (None, "")}
            orders[str(one.data["order_id"])] = {**orders.get(str(one.data["order_id"]), {}), **fresh}
        elif one.ok and "slack" not in one.name:
            others.append(one.data)
    told = [about(order) for order in orders.values()] + [about(data) for data in others]
    return told + [_failure(one) for one in seen if not one.ok]


def _failure(one: Observation) -> str:
    number = next((str(value) for key, value in one.arguments.items() if "order" in key), "")
    if number and re.search(r"not found|no order|unknown|does not exist", one.error, re.IGNORECASE):
        return f"I could not find an order with the number {number}. Please check the number in your confirmation e-mail."
    return f"Something could not be done: {one.error}" if one.error else ""


def _handed_over(reading: Reading) -> list[str]:
    """What earlier steps produced, in their words."""
    told = []
    for material in reading.of("result"):
        text = material.text or (about(material.data) if isinstance(material.data, Mapping) else "")
        if text and text.lower() not in ("none", "null", "n/a", "-") and len(text.split()) > 2:
            told.append(text)
    return told


def _from_knowledge(reading: Reading, classifier: Classifier) -> list[str]:
    """The sentences of the knowledge nearest to the question, at most three, in their order."""
    titled = [(material.label, piece) for material in reading.of("knowledge") for piece in _pieces(material)]
    if not titled or not reading.customer.strip() or not _HAS_KNOWLEDGE.search(reading.instruction):
        return []
    question = classifier.model.normalise(reading.customer[:1000])[0]
    near = _nearness(question, [f"{title} {piece}" for title, piece in titled], classifier.model)
    best = sorted(sorted(range(len(titled)), key=lambda at: -near[at])[:2])
    return [titled[at][1] for at in best if near[at] >= _NEAR_ENOUGH]


def _nearness(question: str, passages: Sequence[str], model: ConceptModel) -> list[float]:
    """Likeness by concept, by embedding, and by the rarer words they share."""
    read = [model.normalise(passage)[0] for passage in passages]
    by_concept = model.points(read) @ model.points([question])[0]
    by_words = model.vectors.embed(read) @ model.vectors.embed([question])[0]
    asked = {stem(word) for word in words(question) if len(word) > 3}
    shared = [len(asked & {stem(word) for word in words(text)}) / max(1, len(asked)) for text in read]
    return [(a + b) / 2 + 0.3 * c for a, b, c in zip(by_concept.tolist(), by_words.tolist(), shared, strict=True)]


def _pieces(material: Material) -> list[str]:
    """Sentences of a passage; a wrapped line goes on in the next one, a list item stands alone."""
    pieces: list[str] = []
    for block in re.split(r"\n[ \t]*\n|\n(?=[ \t]*[-*•#])", material.text):
        whole = " ".join(re.sub(r"^[\s#>*•-]+", "", block).split())
        pieces += re.split(r"(?<=[.!?])\s+(?=[A-ZÀ-Þ\"“])", whole)
    return [piece for piece in pieces[:200] if len(piece.split()) >= 3]


def _asking(reading: Reading, classifier: Classifier) -> list[str]:
    """Nothing is known: say what would help."""
    if not reading.customer.strip():
        return ["Your message arrived without any text.", "Please tell us what we can do for you."]
    model = classifier.model
    read = model.read(reading.meant)
    likely = model.concepts[int(read.argmax())].name if read.any() else "smalltalk"
    thanks = "Thank you for your message."
    if likely in ("tracking", "return", "refund", "cancel", "change", "defect"):
        if orders := order_numbers(reading.customer):
            return [thanks, f"We have noted your message about order {orders[0]} and a colleague will look at it."]
        return [thanks, "Please send us the number of your order, for example #1001, so that we can look it up."]
    if likely in ("smalltalk", "praise"):
        return [thanks, "We can help with orders, returns and questions about the shop."]
    return [thanks, "We have no document that answers this, so a colleague will get back to you."]
