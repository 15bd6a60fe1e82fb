"""Chooses the next tool call, from tool schemas and what the conversation has shown. It makes no id up and ends by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.rehearsal import mood
from connectors.rehearsal.classify import Classifier
from connectors.rehearsal.extraction import EMAIL, order_numbers, value_for
from connectors.rehearsal.filling import brief
from connectors.rehearsal.lexicon import bag, words
from connectors.rehearsal.materials import as_object
from connectors.rehearsal.reading import Reading, labels
from connectors.rehearsal.wire import Function, Message

_READS = bag("get list find search fetch lookup read track check retrieve query show view")
_PROSE = bag("text message body content markdown comment")
_TELLS = bag("send notify alert post message slack email mail escalate sms")
_HINTS: Mapping[str, re.Pattern[str]] = {
    "slack": re.compile(r"slack|notif|alert|supervisor|escalat|channel|inform the team", re.IGNORECASE),
    "email": re.compile(r"e-?mail|confirmation|write to the customer", re.IGNORECASE),
    "return": re.compile(r"return|refund|exchange", re.IGNORECASE),
    "label": re.compile(r"label", re.IGNORECASE),
    "refund": re.compile(r"refund|money back", re.IGNORECASE),
    "ticket": re.compile(r"ticket|case", re.IGNORECASE),
}
_ONLY_IF_GRAVE = re.compile(
    r"\b(?:if|when|only|for|in case)\b[^.\n]{0,60}\b(?:high|severe|critical|urgent|serious)\b|\bhigh\b[^.\n]{0,25}[:→]",
    re.IGNORECASE,
)
_ELSE_TOO = re.compile(r"\botherwise\b[^.\n]{0,40}\b(?:post|send|notify|tell|inform)", re.IGNORECASE)
_CHANNEL = re.compile(r"(?<![\w&])#[a-z][\w-]+")
_GRAVE = 2
_RETURN_WINDOW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Observation:
    """A call made earlier and what came of it."""

    name: str
    arguments: Mapping[str, Any]
    ok: bool
    data: Mapping[str, Any]
    error: str


@dataclass(slots=True)
class Planner:
    """One turn's choice. `observations` are the calls so far, oldest first."""

    reading: Reading
    classifier: Classifier
    observations: Sequence[Observation]
    _known: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for seen in reversed(self.observations):
            self._known += _flat(seen.data)
        for material in reversed(self.reading.materials):
            self._known += _flat(material.data if isinstance(material.data, Mapping) else {})

    def next_call(self, tools: Sequence[Function]) -> tuple[str, dict[str, Any]] | None:
        """The first relevant call not made yet whose required parameters are known: reads first, in the order offered."""
        if len(self.observations) > 2 * len(tools) + 2:
            return None
        for tool in sorted(tools, key=lambda tool: not is_read(tool.name)):
            arguments = self.arguments(tool)
            if arguments is not None and not self._made(tool.name, arguments) and self._relevant(tool, arguments):
                return tool.name, arguments
        return None

    def forced(self, tool: Function) -> tuple[str, dict[str, Any]]:
        """A call the caller insists on; what is not known stays empty."""
        schema = tool.parameters or {}
        properties = schema.get("properties") or {}
        known = {name: self._value(name, properties.get(name) or {}) for name in schema.get("required") or ()}
        empty: dict[str, Any] = {"integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}
        return tool.name, {
            name: empty.get(str((properties.get(name) or {}).get("type")), "") if value is None else value
            for name, value in known.items()
        }

    def arguments(self, tool: Function) -> dict[str, Any] | None:
        """Arguments for the tool, or None while a required one is unknown."""
        schema = tool.parameters or {}
        properties = schema.get("properties") or {}
        required = [name for name in schema.get("required") or () if isinstance(name, str)]
        made: dict[str, Any] = {}
        for name in required:
            value = self._value(name, properties.get(name) or {})
            if value is None:
                return None
            made[name] = value
        for name, about in properties.items():
            if name in ("reason", "resolution") and name not in made and isinstance(about, Mapping):
                value = self._value(name, about)
                if value is not None and value != about.get("default"):
                    made[name] = value
        return made

    def _made(self, name: str, arguments: Mapping[str, Any]) -> bool:
        # What acts is done once a conversation, whatever words it was done with.
        return any(seen.name == name and (not is_read(name) or seen.arguments == arguments) for seen in self.observations)

    def _relevant(self, tool: Function, arguments: Mapping[str, Any]) -> bool:
        told = set(tool.name.lower().split("_"))
        order = next((seen.data for seen in reversed(self.observations) if seen.ok and "order_id" in seen.data), {})
        lost = {str(value) for seen in self.observations if not seen.ok for value in seen.arguments.values()}
        if lost & {str(value) for value in arguments.values()}:
            return False
        if is_read(tool.name):
            if not arguments:
                return False
            if "tracking" in told and order and not order.get("tracking_number"):
                return False
            return not ("list" in told and any(order_numbers(text) for text in self._spoken()))
        hint = next((pattern for word, pattern in _HINTS.items() if word in told), None)
        if hint is not None and not hint.search(self.reading.instruction):
            return False
        if told & _TELLS and _ONLY_IF_GRAVE.search(self.reading.instruction) and not _ELSE_TOO.search(self.reading.instruction):
            return mood.severity(self.classifier.model, self.reading.customer) >= _GRAVE
        if "return" in told and "label" not in told:
            return bool(order) and not order.get("returned") and order.get("status") in (None, "delivered")
        return hint is not None or self._named(tool.name)

    def _named(self, name: str) -> bool:
        """The instruction speaks of the tool, by its name or by all words of its action."""
        told = set(words(self.reading.instruction))
        action = [word for word in name.lower().split("_")[1:] if len(word) > 2]
        return name.lower() in self.reading.instruction.lower().replace(".", "_") or bool(action and set(action) <= told)

    def _spoken(self) -> Iterator[str]:
        yield self.reading.customer
        yield from (material.text for material in reversed(self.reading.of("history")))

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        told = set(words(name.replace("_", " ")))
        description = str(schema.get("description") or "")
        kind = schema.get("type", "string")
        if isinstance(schema.get("enum"), list):
            return self._option(name, schema)
        if kind == "boolean":
            return bool(schema.get("default", False))
        if kind in ("integer", "number"):
            found = self._found(name, description)
            if found is not None and re.fullmatch(r"#?\d+", found):
                return int(found.lstrip("#"))
            return schema.get("default", schema.get("minimum") if "id" not in told else None)
        if kind not in ("string", ["string", "null"]):
            return schema.get("default")
        if told & _PROSE:
            return self.note()
        if told & {"subject", "title"}:
            return "Your message to our shop"
        if told & {"reason", "comment"}:
            return brief(self.reading.customer) or None
        if "channel" in told:
            return self._channel() or schema.get("default")
        if told & {"query", "search", "question"}:
            return brief(self.reading.customer) or None
        return self._found(name, description) or schema.get("default")

    def _channel(self) -> str | None:
        """The channel the instruction names; of several, the one whose sentence speaks of grave cases, or the other."""
        grave = mood.severity(self.classifier.model, self.reading.customer) >= _GRAVE
        named = [
            (found.group(), bool(re.search(r"\b(?:high|severe|critical|urgent)\b", part, re.IGNORECASE)))
            for part in re.split(r"(?<=[.!?])\s+|\n(?=\s*[-\d•])", self.reading.instruction)
            for found in _CHANNEL.finditer(part)
        ]
        fitting = [channel for channel, for_grave in named if for_grave == grave]
        return fitting[0] if fitting else named[0][0] if named else None

    def _option(self, name: str, schema: Mapping[str, Any]) -> Any:
        values = [value for value in schema["enum"] if isinstance(value, str)]
        age = next((value for key, value in self._known if key == "age_days"), "0")
        if "store_credit" in values and age.isdecimal() and int(age) > _RETURN_WINDOW_DAYS:
            return "store_credit"
        if schema.get("default") is not None or not values:
            return schema.get("default", next(iter(schema["enum"]), None))
        level = mood.on_scale(values, mood.severity(self.classifier.model, self.reading.customer))
        return level or self.classifier.choose(self.reading.customer, labels(values, self.reading.instruction)).label

    def _found(self, name: str, description: str) -> str | None:
        """A fact of that name: said by the customer, handed over, found by a tool, or said earlier."""
        wants_mail = bool(set(words(name)) & {"email", "mail", "recipient"}) or name.lower() in ("to", "recipient_email")
        search = "email" if wants_mail else name
        if (value := value_for(search, description, self.reading.customer)) is not None:
            return value
        for key, fact in self._known:
            if key == name or (wants_mail and EMAIL.fullmatch(fact)):
                return fact
        handed = [material for material in self.reading.materials if material.kind in ("context", "result")]
        texts = [f"{material.label}: {material.text}" for material in handed]
        for text in [*texts, *self._spoken()]:
            if (value := value_for(search, description, text)) is not None:
                return value
        return value_for(search, description, self.reading.asked) if not self.reading.of("knowledge") else None

    def fact(self, name: str) -> str | None:
        """What is known under that name, as text."""
        return self._found(name, "")

    def note(self) -> str:
        """What a colleague is told about the message."""
        level = ("low", "medium", "high")[mood.severity(self.classifier.model, self.reading.customer)]
        orders = order_numbers(self.reading.customer)
        about = f" about order {orders[0]}" if orders else ""
        return (
            f"A customer wrote{about} (severity {level}): {brief(self.reading.customer) or 'an empty message'} (rehearsal model)"
        )


def is_read(name: str) -> bool:
    return bool(set(name.lower().split("_")) & _READS)


def observed(messages: Sequence[Message]) -> list[Observation]:
    """Calls and results of the conversation, paired by call id."""
    results = {message.tool_call_id: message.content for message in messages if message.role == "tool"}
    seen = []
    for message in messages:
        for call in message.tool_calls or ():
            if call.id in results:
                seen.append(_observation(call.function.name, call.function.arguments, results[call.id]))
    return seen


def _observation(name: str, arguments: str, content: str) -> Observation:
    given, told = as_object(arguments) or {}, as_object(content)
    if told is None:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = content
        return Observation(name, given, True, {"result": value}, "")
    failed = told.get("ok") is False or told.get("successful") is False or (bool(told.get("error")) and not told.get("data"))
    data = told.get("data") if isinstance(told.get("data"), Mapping) else told
    return Observation(name, given, not failed, {} if failed else data or {}, str(told.get("error") or "") if failed else "")


def _flat(data: Mapping[str, Any], depth: int = 0) -> list[tuple[str, str]]:
    """Scalar fields as text, nested ones after the outer; of a list the first element."""
    facts, inner = [], []
    for key, value in data.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            facts.append((str(key), str(value)))
        elif depth < 4:
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, Mapping):
                inner += _flat(first, depth + 1)
    return facts + inner
