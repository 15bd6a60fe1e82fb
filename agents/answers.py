"""Reads a model's answer: refusals, empty answers and output that breaks its schema are told apart and put into words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import referencing
import referencing.exceptions
from jsonschema.validators import validator_for

from agents.errors import Fatal
from agents.jsonable import NotJson, text
from agents.model_text import find_json, tool_markup
from agents.ports import ChatReply


class Unfit(Exception):
    """The answer cannot be used as it is. The message tells the model what to do next."""


def read_answer(reply: ChatReply, schema: Mapping[str, Any] | None, *, node: str) -> Any:
    """The reply's text, or the value its JSON holds when there is a schema.

    Raises Unfit for what a second try may mend, Fatal for a refusal or a schema that is none.
    """
    if reply.finish_reason == "refusal":
        raise Fatal(
            f"node {node}: the model {reply.model} refused to answer: {reply.text[:300] or '(no reason given)'}. "
            "Change the prompt, choose another model profile, or give the node `on_error`."
        )
    cut = " Your answer was cut off at the length limit: be much shorter." if reply.finish_reason == "length" else ""
    if not reply.text.strip():
        raise Unfit(f"You answered nothing.{cut} Answer the request above now.")
    if schema is None:
        if cut:
            raise Unfit(f"{cut.strip()} Answer the request above again, whole.")
        if mark := tool_markup(reply.text):
            raise Unfit(f"You wrote a tool call as text ({mark}), which calls nothing. Call tools as tools, or answer in words.")
        return text(reply.text)
    try:
        value = find_json(reply.text)
    except NotJson as error:
        raise Unfit(
            f"Your answer cannot be used: {error}.{cut} Answer again with one JSON value that fits the schema, and nothing else."
        ) from error
    wrong = faults(value, schema, owner=f"node {node}: output_schema")
    if wrong:
        raise Unfit(
            "Your answer does not fit the schema:\n" + "\n".join(f"- {fault}" for fault in wrong) + f"\n{cut}"
            "Answer again with the whole JSON value, these points mended, and nothing else."
        )
    return value


def faults(value: Any, schema: Mapping[str, Any], *, owner: str, limit: int = 8) -> list[str]:
    """Where `value` breaks `schema`, in words, the first `limit`. Raises Fatal when `schema` is not a JSON Schema.

    References to other documents are not fetched.
    """
    validator_class = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        validator_class.check_schema(dict(schema))
        validator = validator_class(schema, registry=referencing.Registry())
        errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    except jsonschema.SchemaError as error:
        raise Fatal(
            f"{owner} is not a valid JSON Schema: {error.message} at {error.json_path}. Mend it in the definition."
        ) from error
    except referencing.exceptions.Unresolvable as error:
        raise Fatal(f"{owner} refers to {error.ref!r}, which it does not contain. Put that schema under `$defs`.") from error
    return [f"{error.json_path}: {error.message[:300]}" for error in errors[:limit]]
