"""Writes the answer in prose: what tools found, what earlier steps said, or the nearest knowledge. Always ends with the stamp."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.rehearsal import mood
from connectors.rehearsal.classify import Classifier
from connectors.rehearsal.extraction import order_numbers
from connectors.rehearsal.materials import STAMP, Material
from connectors.rehearsal.reading import Reading
from connectors.rehearsal.telling import about, sentence
from connectors.rehearsal.toolcalls import Observation

_NEAR_ENOUGH = 0.12
_GRAVE = 2
_HAS_KNOWLEDGE = re.compile(r"help pages?|knowledge|polic|document|faq|passage|article|sources?\b", re.IGNORECASE)
_COMPLAINT = re.compile(r"\bcomplain", re.IGNORECASE)
_WHOLE_PASSAGE = 600


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
    passages = [piece for material in reading.of("knowledge") for piece in _pieces(material)]
    if not passages or not reading.customer.strip() or not _HAS_KNOWLEDGE.search(reading.instruction):
        return []
    model = classifier.model
    asked = model.points([model.normalise(reading.customer[:1000])[0]])
    near = (model.points([model.normalise(piece)[0] for piece in passages]) @ asked.T)[:, 0]
    best = sorted(sorted(range(len(passages)), key=lambda at: -near[at])[:2])
    return [passages[at] for at in best if near[at] >= _NEAR_ENOUGH]


def _pieces(material: Material) -> list[str]:
    lines = [re.sub(r"^[\s#>*\d.)-]+", "", line).strip() for line in material.text.splitlines()]
    pieces: list[str] = []
    for line in lines:
        if len(line.split()) < 4:
            continue
        pieces += [line] if len(line) <= 200 else re.split(r"(?<=[.!?])\s+", line[: 5 * _WHOLE_PASSAGE])
    return [piece for piece in pieces[:200] if len(piece.split()) >= 3]


def _asking(reading: Reading, classifier: Classifier) -> list[str]:
    """Nothing is known: say what would help."""
    if not reading.customer.strip():
        return ["Your message arrived without any text.", "Please tell us what we can do for you."]
    model = classifier.model
    likely = max(zip(model.read(reading.meant).tolist(), (concept.name for concept in model.concepts), strict=True))[1]
    thanks = "Thank you for your message."
    if likely in ("tracking", "return", "refund", "cancel", "change", "defect"):
        if orders := order_numbers(reading.customer):
            return [thanks, f"We have noted your message about order {orders[0]} and a colleague will look at it."]
        return [thanks, "Please send us the number of your order, for example #1001, so that we can look it up."]
    if likely in ("smalltalk", "praise"):
        return [thanks, "We can help with orders, returns and questions about the shop."]
    return [thanks, "We have no document that answers this, so a colleague will get back to you."]
