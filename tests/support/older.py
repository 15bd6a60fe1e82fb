"""Records as they would have been written before a schema grew."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import fastavro
from msgspec.structs import replace

from schemas.codec import decode, single_object
from schemas.codec.registry import FOLDER, fingerprint, history
from streams.runtime import Record


def former_schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """(event type, schema) of every former version there is."""
    return history(FOLDER)


def as_written_under(schema: dict[str, Any], kind: str, record: Record) -> Record:
    """The record under a former schema, if it is of that type; otherwise as it is."""
    value = record.value or b""
    if not value.startswith(single_object.MARKER):
        return record
    event = decode(value, record.headers)
    if kind != event.TYPE:
        return record
    body = BytesIO()
    fields = single_object._record(event, single_object._plan(type(event)))
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), fields)
    return replace(record, value=single_object.MARKER + fingerprint(schema) + body.getvalue())


def is_written_under(schema: dict[str, Any], record: Record) -> bool:
    """Whether the record already is of that version: histories are older than some of the versions that came after them."""
    return (record.value or b"").startswith(single_object.MARKER + fingerprint(schema))
