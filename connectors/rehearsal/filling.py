"""Fills a JSON Schema from what a prompt shows: labels by likeness, entities by extraction, the rest neutral but valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.rehearsal import mood
from connectors.rehearsal.bounds import cut, fits, neutral, within
from connectors.rehearsal.classify import Choice, Classifier
from connectors.rehearsal.extraction import EMAIL, order_numbers, value_for
from connectors.rehearsal.lexicon import bag, words
from connectors.rehearsal.reading import Reading, labels

_ABSENT = object()
_DEEPEST = 12
_PROSE = bag("response answer reply text message body content output result solution")
_REASON = bag("reason reasoning explanation rationale why thought justification")
_BRIEF = bag("summary description title subject topic issue problem details note")
_SURE = bag("confidence score probability certainty likelihood")
_HUMAN = bag("human escalate escalation escalated supervisor handover handoff takeover urgent manual")


@dataclass(slots=True)
class Filler:
    """Fills one schema for one prompt. `prose` is the text a free answer would have been."""

    reading: Reading
    classifier: Classifier
    prose: str
    root: Mapping[str, Any] = field(default_factory=dict)
    choice: Choice | None = None

    def fill(self, schema: Mapping[str, Any]) -> Any:
        """A value for the schema; valid as far as enums, types, bounds, required and references go."""
        self.root = schema
        value = self._value("", schema, required=True, depth=0)
        return None if value is _ABSENT else value

    def _value(self, name: str, raw: Any, *, required: bool, depth: int) -> Any:
        schema = self._resolved(raw)
        if schema is None or depth > _DEEPEST:
            return self.prose if required and schema is not None else None if required else _ABSENT
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self._enum(name, schema, required=required)
        for word in ("anyOf", "oneOf"):
            if isinstance(schema.get(word), list):
                return self._any_of(name, schema, schema[word], required=required, depth=depth)
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else list(kinds or [])
        if not kinds:
            kinds = ["object"] if "properties" in schema else ["array"] if "items" in schema else ["string"]
        nullable = "null" in kinds or schema.get("nullable") is True
        kind = next((kind for kind in kinds if kind != "null"), "null")
        value = self._typed(kind, name, schema, depth, required=required and not nullable)
        if value is _ABSENT and required and nullable:
            return None
        return value

    def _resolved(self, given: Any) -> Mapping[str, Any] | None:
        """The schema with `$ref` followed and `allOf` laid together; None when it says nothing or refers to nowhere."""
        if not isinstance(given, Mapping):
            return {} if given is True else None
        schema: Mapping[str, Any] = given
        seen = 0
        while isinstance(schema.get("$ref"), str) and seen < _DEEPEST:
            target: Any = self.root
            for part in schema["$ref"].lstrip("#").strip("/").split("/"):
                key = part.replace("~1", "/").replace("~0", "~")
                target = target.get(key) if isinstance(target, Mapping) and part else target
            if not isinstance(target, Mapping):
                return None
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
            seen += 1
        if isinstance(schema.get("allOf"), list):
            whole: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                more = self._resolved(part) or {}
                properties = {**whole.get("properties", {}), **more.get("properties", {})}
                required = [*whole.get("required", ()), *more.get("required", ())]
                whole = (
                    {**whole, **more}
                    | ({"properties": properties} if properties else {})
                    | ({"required": required} if required else {})
                )
            return whole
        return schema

    def _any_of(self, name: str, schema: Mapping[str, Any], options: list[Any], *, required: bool, depth: int) -> Any:
        common = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
        resolved = [{**common, **option} for option in map(self._resolved, options) if option is not None]
        nulls = [option for option in resolved if option.get("type") == "null"]
        for option in resolved:
            if option not in nulls and (value := self._value(name, option, required=False, depth=depth + 1)) is not _ABSENT:
                return value
        if nulls:
            return None if required else _ABSENT
        return self._value(name, resolved[0], required=required, depth=depth + 1) if resolved else None

    def _enum(self, name: str, schema: Mapping[str, Any], *, required: bool) -> Any:
        values = schema["enum"]
        spoken = [value for value in values if isinstance(value, str)]
        if not spoken or len(spoken) < len([value for value in values if value is not None]):
            return values[0] if required else _ABSENT
        told = set(words(name.replace("_", " ")))
        text = self.reading.meant
        level = mood.on_scale(spoken, mood.severity(self.classifier.model, text))
        if level is not None:
            return level
        if {value.lower() for value in spoken} >= {"positive", "negative"}:
            feeling = mood.sentiment(self.classifier.model, text)
            return next((value for value in spoken if value.lower() == feeling), spoken[0])
        choice = self.classifier.choose(text, labels(spoken, self.reading.instruction, str(schema.get("description") or "")))
        if self.choice is None or "intent" in told:
            self.choice = choice
        return choice.label

    def _typed(self, kind: str, name: str, schema: Mapping[str, Any], depth: int, *, required: bool) -> Any:
        if kind == "object":
            return self._object(name, schema, depth, required=required)
        if kind == "array":
            return self._array(name, schema, depth, required=required)
        if kind == "string":
            return self._string(name, schema, required=required)
        if kind in ("number", "integer"):
            return self._number(kind, name, schema, required=required)
        if kind == "boolean":
            told = set(words(name.replace("_", " ")))
            if (stated := self._stated(name)) is not None:
                return stated
            if told & _HUMAN:
                return mood.severity(self.classifier.model, self.reading.customer) >= 2
            return False if required or "default" not in schema else schema["default"]
        return None

    def _object(self, name: str, schema: Mapping[str, Any], depth: int, *, required: bool) -> Any:
        properties = schema.get("properties")
        needed = set(schema.get("required") or ())
        if not isinstance(properties, Mapping):
            return self._entities() if schema.get("additionalProperties", True) is not False else {}
        # Labels first: a confidence beside them is about them.
        order = sorted(properties, key=lambda key: not (isinstance(properties[key], Mapping) and "enum" in properties[key]))
        made = {key: self._value(key, properties[key], required=key in needed, depth=depth + 1) for key in order}
        made |= {key: "" for key in needed if key not in properties}
        kept = {key: made[key] for key in [*properties, *(needed - properties.keys())] if made[key] is not _ABSENT}
        return kept if kept or required or depth == 0 or name else _ABSENT

    def _entities(self) -> dict[str, Any]:
        text = self.reading.customer
        found: dict[str, Any] = {}
        if numbers := order_numbers(text):
            found["order_id"] = numbers[0]
        if email := EMAIL.search(text):
            found["email"] = email.group()
        if tracking := value_for("tracking_number", "", text):
            found["tracking_number"] = tracking
        return found

    def _array(self, name: str, schema: Mapping[str, Any], depth: int, *, required: bool) -> Any:
        items = self._resolved(schema.get("items", {})) or {}
        least, most = int(schema.get("minItems") or 0), int(schema.get("maxItems") or 8)
        made: list[Any] = []
        if items.get("type", "string") == "string" and "enum" not in items:
            told = set(words(name.replace("_", " ")))
            if told & {"order", "orders"}:
                made = list(order_numbers(self.reading.customer))
            elif told & {"email", "emails"}:
                made = EMAIL.findall(self.reading.customer)
            elif told & {"keyword", "keywords", "tags", "topics"}:
                made = list(dict.fromkeys(word for word in words(self.reading.customer) if len(word) > 4))[:5]
        else:
            value = self._value(name, items, required=least > 0 or "enum" in items, depth=depth + 1)
            made = [] if value is _ABSENT or value == {} else [value]
        while len(made) < least:
            value = self._value(name, items, required=True, depth=depth + 1)
            if schema.get("uniqueItems") and value in made:
                options = [option for option in items.get("enum", []) if option not in made]
                value = options[0] if options else f"{value} {len(made) + 1}"
            made.append(value)
        return made[:most] if made or required or least == 0 else _ABSENT

    def _string(self, name: str, schema: Mapping[str, Any], *, required: bool) -> Any:
        description = str(schema.get("description") or "")
        told = set(words(name.replace("_", " ")))
        text = self.reading.customer
        value = value_for(name, description, text) or self._handed_over(name) or self._said_before(name, description)
        if value is None and told & _PROSE:
            value = self.prose
        if value is None and told & _REASON and self.choice is not None:
            value = f"The message is nearest to {self.choice.label} (rehearsal model)."
        if value is None and told & _BRIEF:
            value = brief(text) or None
        if value is None and "language" in told:
            value = self.classifier.model.normalise(text)[1]
        if value is None and "sentiment" in told:
            value = mood.sentiment(self.classifier.model, text)
        if value is None and told & {"severity", "priority", "urgency"}:
            value = ("low", "medium", "high")[mood.severity(self.classifier.model, text)]
        if value is not None and fits(value, schema):
            return cut(value, schema)
        return neutral(schema) if required else _ABSENT

    def _handed_over(self, name: str) -> str | None:
        """A field of an earlier step's output by the same name."""
        for material in reversed(self.reading.materials):
            if isinstance(material.data, Mapping) and isinstance(value := material.data.get(name), str) and value:
                return value
        return None

    def _said_before(self, name: str, description: str) -> str | None:
        """An order the conversation was about: words like `it` stand for it."""
        if "order" not in words(name.replace("_", " ")):
            return None
        said = (value_for(name, description, turn.text) for turn in reversed(self.reading.of("history")))
        return next((value for value in said if value), None)

    def _stated(self, name: str) -> bool | None:
        """What the instruction says a flag is, when it says only one thing: `needs_human` is true."""
        told = set(re.findall(rf"\b{re.escape(name)}\W{{0,3}}\s*(?:is|to|=|:)\s*(true|false)\b", self.reading.asked.lower()))
        return told == {"true"} if len(told) == 1 else None

    def _number(self, kind: str, name: str, schema: Mapping[str, Any], *, required: bool) -> Any:
        told = set(words(name.replace("_", " ")))
        value: float | None = None
        if told & _SURE:
            value = self.choice.confidence if self.choice else 0.5
            if float(schema.get("maximum") or 1) > 1:
                value *= float(schema["maximum"])
        elif (found := value_for(name, str(schema.get("description") or ""), self.reading.customer)) and re.fullmatch(
            r"\d+(?:\.\d+)?", found
        ):
            value = float(found)
        if value is None and not required:
            return _ABSENT
        return within(value or 0.0, kind, schema)


def brief(text: str) -> str:
    """The first sentence of a message, at most 160 characters."""
    line = " ".join(text.split())
    first = re.split(r"(?<=[.!?。！？])\s", line, maxsplit=1)[0]
    return first if len(first) <= 160 else f"{first[:159]}…"
