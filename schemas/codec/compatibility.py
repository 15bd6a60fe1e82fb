"""May today's schemas replace those of the records already written? BACKWARD_TRANSITIVE: against every version there was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityResult, SchemaCompatibilityType
from avro.schema import parse

from schemas.codec.avro_schema import record_schema
from schemas.codec.registry import FOLDER, Model, event_types, fingerprint, history

MEANING = ("logicalType", "precision", "scale", "hil.json")
"""Properties that say how a value is read, though Avro's own check and the fingerprint leave them out."""
PLAIN = ("string", "bytes", "long")
"""Avro types that carry such properties."""


def check_compatibility(folder: Path = FOLDER, models: Mapping[str, Model] | None = None) -> list[str]:
    """Faults in words, none when every version under `folder` can be read by today's models."""
    models = event_types() if models is None else models
    faults = []
    for kind, version, former in versions(folder):
        if kind not in models:
            faults.append(
                f"{kind}: no event has this type, so its records cannot be read. Keep the event, even when nobody writes it."
            )
            continue
        faults += [f"{kind}: {fault} (since version {version})" for fault in compare(record_schema(models[kind]), former)]
    return faults


def versions(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(type, fingerprint in hex, schema) of every version under `folder`: those checked in, then those before them."""
    for path in sorted(folder.glob("*.avsc")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        yield path.stem, fingerprint(schema).hex(), schema
    for kind, schema in history(folder):
        yield kind, fingerprint(schema).hex(), schema


def compare(reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    """What keeps `reader` from reading everything that `writer` wrote."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call] # avro leaves its constructor untyped
    result = checker.get_compatibility(parse(json.dumps(reader)), parse(json.dumps(writer)))
    faults = [] if result.compatibility is SchemaCompatibilityType.compatible else [_words(reader, result)]
    now, then = dict(_meanings(reader["fields"])), dict(_meanings(writer["fields"]))
    return faults + [
        f"`{path}` was {then[path]} and is {now[path]}, so old values would be misread. Add a new field instead"
        for path in then
        if path in now and now[path] != then[path]
    ]


def _words(reader: dict[str, Any], result: SchemaCompatibilityResult) -> str:
    places = sorted({_field(reader, location) for location in result.locations})
    kinds = sorted({kind.name.replace("_", " ") for kind in result.incompatibilities})
    return f"{', '.join(kinds)} at {', '.join(places)}: {', '.join(sorted(result.messages))}. Add optional fields only"


def _field(reader: dict[str, Any], location: str) -> str:
    """`/fields/2/type` → the name of the field; Avro's check forgets the way into a union."""
    parts = location.split("/")
    return f"`{reader['fields'][int(parts[2])]['name']}`" if parts[1] == "fields" else "some union or the record itself"


def _meanings(fields: list[dict[str, Any]], path: str = "") -> Iterator[tuple[str, str]]:
    """(path of a field, how its value is read) of every value that is more than its Avro type says."""
    for field in fields:
        yield from _meaning(field["type"], path + field["name"])


def _meaning(kind: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(kind, list):
        for branch in kind:
            yield from _meaning(branch, path)
    elif isinstance(kind, dict):
        said = [f"{key} {kind[key]}" for key in MEANING if key in kind]
        if kind["type"] in PLAIN:
            yield path, ", ".join(said) or f"plain {kind['type']}"
        yield from _meanings(kind.get("fields", []), f"{path}.")
        yield from _meaning(kind.get("items") or kind.get("values"), f"{path}[]")
    elif kind in PLAIN:
        yield path, f"plain {kind}"
