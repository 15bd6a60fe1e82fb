"""Which schema wrote these bytes: every event type, its current schema, and every former version by fingerprint.

Nothing happens at import. Current schemas come from the models; former ones are read from disk once, when first missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint as avro_fingerprint
from fastavro.schema import to_parsing_canonical_form

from schemas.base import Event
from schemas.codec.avro_schema import NAMESPACE, record_name, record_schema
from schemas.events import InboundMessage
from schemas.topics import TOPICS

FOLDER = Path(__file__).parent.parent / "avro"
"""`<type>.avsc` for each event type, and `history/<type>/<fingerprint>.avsc` for what they were before."""

Model = type[Event] | type[InboundMessage]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one event type's schema, ready to read with."""

    model: Model
    fingerprint: bytes
    """CRC-64-AVRO of the Parsing Canonical Form, 8 bytes, little endian."""
    parsed: dict[str, Any]
    """As fastavro wants it."""


def fingerprint(schema: dict[str, Any]) -> bytes:
    """The 8 bytes that follow the marker of a single-object encoding (Avro 1.12 specification, "Single-object encoding")."""
    return bytes.fromhex(avro_fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


@cache
def event_types() -> Mapping[str, Model]:
    """Every type that travels on a topic: CloudEvents type → model, in the order of the topics."""
    return {model.TYPE: model for topic in TOPICS.values() for model in topic.carries}  # type: ignore[attr-defined]


@cache
def record_names() -> Mapping[str, Model]:
    """Avro full name → model."""
    return {f"{NAMESPACE}.{record_name(model)}": model for model in event_types().values()}


@cache
def current(model: Model) -> Version:
    """What `model` is written with today."""
    return _version(model, record_schema(model))


def by_fingerprint(key: bytes) -> Version | None:
    """The version with this fingerprint, or None when no version ever had it."""
    return _current_versions().get(key) or _former_versions().get(key)


@cache
def _current_versions() -> Mapping[bytes, Version]:
    versions = (current(model) for model in event_types().values())
    return {version.fingerprint: version for version in versions}


@cache
def _former_versions() -> Mapping[bytes, Version]:
    versions = (_version(event_types()[name], schema) for name, schema in history(FOLDER) if name in event_types())
    return {version.fingerprint: version for version in versions}


def _version(model: Model, schema: dict[str, Any]) -> Version:
    parsed = fastavro.parse_schema(schema)
    assert isinstance(parsed, dict), f"the schema of {model.TYPE} is a record"
    return Version(model, fingerprint(schema), parsed)


def history(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(type, schema) of every former version under `folder`, oldest names first. A fingerprint is never reused."""
    for path in sorted((folder / "history").glob("*/*.avsc")):
        yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))
