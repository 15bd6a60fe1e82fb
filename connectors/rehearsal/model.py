"""The stand-in itself: takes a chat request, chooses how to answer, counts text tokens. Deterministic; keeps nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jsonschema
from jsonschema.validators import validator_for

from connectors.embeddings import WordVectors
from connectors.rehearsal import coding
from connectors.rehearsal.answering import answer
from connectors.rehearsal.classify import Classifier
from connectors.rehearsal.concepts import Vector, concept_model
from connectors.rehearsal.filling import Filler
from connectors.rehearsal.materials import STAMP
from connectors.rehearsal.reading import Reading, read
from connectors.rehearsal.toolcalls import Planner, observed
from connectors.rehearsal.wire import Call, ChatBody, Function, Message, Refused, Reply, Usage

_PER_MESSAGE = 4
_FOLLOW_UP = re.compile(r"Traceback|program failed|interpreter stopped|Your answer|You answered nothing|last turn", re.IGNORECASE)
_SHOWN_KEY = re.compile(r"[\"'](\w+)[\"']\s*:\s*(?:[\"']?((?:\w+\s*\|\s*)+\w+)[\"']?)?")


class RehearsalModel:
    """Answers any valid request. Not a language model: likeness, extraction and templates."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.vectors: WordVectors = classifier.model.vectors

    @classmethod
    def load(cls) -> RehearsalModel:
        """Raises connectors.embeddings.EmbeddingsError without the extra `embedded`."""
        return cls(Classifier(concept_model()))

    def complete(self, body: ChatBody) -> tuple[Reply, Usage]:
        """The same body gives the same reply. Raises Refused for what OpenAI would refuse too."""
        reply = self._reply(body)
        made = self.vectors.ids(reply.text + "".join(json.dumps(call.as_json()["function"]) for call in reply.calls))
        if body.limit is not None and len(made) > body.limit:
            if reply.calls:
                reply = Reply("", (), "length")
            else:
                end = self.vectors.tokenizer.encode(reply.text, add_special_tokens=False).offsets[body.limit - 1][1]
                reply = Reply(reply.text[:end], (), "length")
            made = made[: body.limit]
        return reply, Usage(self._prompt_tokens(body), len(made))

    def embed(self, texts: Sequence[str]) -> tuple[Vector, int]:
        """Unit vectors and the text tokens read."""
        return self.vectors.embed(texts), sum(len(self.vectors.ids(text)) for text in texts)

    def _reply(self, body: ChatBody) -> Reply:
        reading, later = self._read(body.messages)
        seen = observed(body.messages)
        planner = Planner(reading, self.classifier, seen)
        tools = [tool.function for tool in body.tools or ()]
        if tools and body.tool_choice != "none":
            call = self._choose(planner, tools, body.tool_choice)
            if call is not None:
                return Reply("", (_identified(call, len(seen)),), "tool_calls")
        if coding.asks_for_program(reading.instruction):
            return Reply(coding.program(reading, coding.stubs(reading.instruction), planner, later))
        text = answer(reading, seen, self.classifier)
        wanted = body.response_format
        if wanted is None or wanted.type == "text":
            return Reply(text)
        schema = wanted.json_schema.schema_ if wanted.json_schema else _schema_shown(reading.instruction)
        return Reply(json.dumps(self._filled(schema, reading, text), ensure_ascii=False))

    def _read(self, messages: Sequence[Message]) -> tuple[Reading, str]:
        """The first task, and what was said about earlier tries at it."""
        system = "\n".join(message.content for message in messages if message.role in ("system", "developer"))
        said = [message.content for message in messages if message.role == "user"]
        # A request to mend an answer is about the task before it; any other user message is a new turn of a chat.
        task = next(
            (text for text in reversed(said) if not (_FOLLOW_UP.search(text[:400]) and len(said) > 1)), said[0] if said else ""
        )
        later = "\n".join(said[said.index(task) + 1 :]) if task in said else ""
        return read(system, task), later

    def _choose(self, planner: Planner, tools: Sequence[Function], choice: Any) -> tuple[str, dict[str, Any]] | None:
        if isinstance(choice, Mapping):
            function = choice.get("function")
            name = function.get("name") if isinstance(function, Mapping) else None
            named = next((tool for tool in tools if tool.name == name), None)
            if named is None:
                raise Refused(f"Tool choice {name!r} is not among the tools.", param="tool_choice")
            return planner.forced(named)
        if choice not in (None, "auto", "required"):
            raise Refused(f"Invalid value for 'tool_choice': {choice!r}.", param="tool_choice")
        call = planner.next_call(tools)
        return planner.forced(tools[0]) if call is None and choice == "required" else call

    def _filled(self, schema: Mapping[str, Any], reading: Reading, prose: str) -> Any:
        fault = _schema_fault(json.dumps(schema))
        if fault:
            raise Refused(f"Invalid schema for response_format: {fault}", param="response_format")
        return Filler(reading, self.classifier, prose).fill(schema)

    def _prompt_tokens(self, body: ChatBody) -> int:
        parts = [message.content for message in body.messages]
        parts += [call.function.name + call.function.arguments for message in body.messages for call in message.tool_calls or ()]
        parts += [tool.model_dump_json() for tool in body.tools or ()]
        return len(self.vectors.ids("\n".join(parts))) + _PER_MESSAGE * len(body.messages)


@lru_cache(maxsize=256)
def _schema_fault(written: str) -> str:
    """What is wrong with a JSON Schema, empty when nothing is."""
    schema = json.loads(written)
    try:
        validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        return error.message
    except RecursionError:
        return "it is nested too deeply"
    return ""


def _identified(call: tuple[str, dict[str, Any]], number: int) -> Call:
    """A call with an id made from itself and its place, so that a repeat of the request gets the same."""
    mark = hashlib.sha256(json.dumps([number, *call], sort_keys=True, default=str).encode()).hexdigest()[:16]
    return Call(f"call_{mark}", *call)


def _schema_shown(prompt: str) -> dict[str, Any]:
    """A schema for `json_object`, from the keys a prompt shows in an example; without any, `response`."""
    properties: dict[str, Any] = {}
    for key, options in _SHOWN_KEY.findall(prompt):
        if options:
            properties[key] = {"enum": [option.strip() for option in options.split("|")]}
        elif key in ("confidence", "score", "probability"):
            properties[key] = {"type": "number", "minimum": 0, "maximum": 1}
        else:
            properties.setdefault(key, {"type": "object"} if key == "entities" else {"type": "string"})
    properties = properties or {"response": {"type": "string"}}
    return {
        "type": "object",
        "properties": {**properties, "model_note": {"const": STAMP}},
        "required": [*properties, "model_note"],
    }
