"""How encoding and decoding fail. The reason names the fault and the way out, and never quotes what a customer wrote."""

from __future__ import annotations


class Undecodable(ValueError):
    """The bytes are not a message we know. They would not become one by trying again: the record goes to dead-letters."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        """One of CODES, for filters."""
        self.reason = reason
        """For people: what is wrong, and what to do."""

    def __repr__(self) -> str:
        return f"Undecodable({self.code!r}, {self.reason!r})"


class Unencodable(ValueError):
    """The event holds something its schema has no room for. A defect of whoever built it."""


CODES: dict[str, str] = {
    "empty": "The value is null or has no bytes.",
    "too_large": "The value is larger than intake accepts.",
    "invalid_utf8": "The value is not UTF-8 text.",
    "invalid_json": "The value is not one JSON value.",
    "duplicate_key": "A JSON object has the same key twice.",
    "too_deep": "Lists and objects are nested too deeply.",
    "too_many_values": "Lists and objects hold too many values.",
    "number_out_of_range": "A number is not finite, or does not fit 64 bits.",
    "lone_surrogate": "An escape sequence is half of a surrogate pair.",
    "wrong_type": "A field has a value of another type.",
    "missing_field": "A required field is not there.",
    "invalid_value": "A field's value is outside its limits.",
    "unknown_event_type": "Nobody here reads events of this type.",
    "unknown_fingerprint": "The Avro schema the value was written with is not known.",
    "no_schema_registry": "The value has a schema registry's frame, and none is configured.",
    "truncated": "The Avro value ends too early.",
    "trailing_bytes": "Something follows the end of the Avro value.",
    "unknown_workflow": "The message names a workflow that is not published.",
    "deprecated_workflow": "The message names a version of a workflow that is deprecated.",
    "workflow_not_allowed": "The message names a workflow that messages may not ask for.",
    "reserved_name": "A name in the context is that of a node or a word of the dialect.",
    "other_customer": "The conversation belongs to another customer.",
    "invalid_avro": "The bytes do not fit the Avro schema they name.",
    "wrong_partition": "It lies on another partition than its conversation.",
    "undecidable": "It can be read, and nothing can be decided about it: an id, or a number, of nobody's.",
    "state_unreadable": "What is remembered of its conversation cannot be read.",
}
"""Every code an Undecodable may carry, and what it means."""
