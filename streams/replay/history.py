"""Recorded histories as files: what a verification needs of the log, byte for byte as it lay there.

Gzipped JSON lines. The first says what the file is; every other is one record: topic, partition, offset, timestamp, key, value
and headers, bytes as base64. In the order: definitions, dead letters, then events and outputs, each partition's by offset.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.runtime import Record

FORMAT, VERSION = "hil-history", 1

_REMEDY = "Give a file that `hil replay record` wrote."


class NoHistory(Exception):
    """The file is not a recorded history, or not one of a version that is read here."""


@dataclass(frozen=True, slots=True)
class History:
    """One recorded period."""

    records: tuple[Record, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    """For people: what was recorded, when, with which version."""

    def of(self, topic: str) -> list[Record]:
        return [record for record in self.records if record.topic == topic]


def write(path: Path, history: History) -> None:
    """The same records give the same bytes."""
    lines = [json.dumps({"format": FORMAT, "version": VERSION, **history.about}, ensure_ascii=False)]
    lines += [json.dumps(_line(record), ensure_ascii=False, separators=(",", ":")) for record in history.records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))


def read(path: Path) -> History:
    """Raises NoHistory, in words."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        head, *rest = [json.loads(line) for line in lines]
    except OSError as error:
        raise NoHistory(
            f"{path} cannot be read: {error.strerror or error}. Give a file that `hil replay record` wrote."
        ) from error
    except (ValueError, EOFError) as error:
        raise NoHistory(f"{path} is no recorded history: {error}. {_REMEDY}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT or head.get("version") != VERSION:
        raise NoHistory(f"{path} is no recorded history of version {VERSION}. {_REMEDY}")
    about = {name: value for name, value in head.items() if name not in ("format", "version")}
    return History(tuple(_records(path, rest)), about)


def _line(record: Record) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }


def _records(path: Path, lines: Iterable[dict[str, Any]]) -> Iterator[Record]:
    for number, line in enumerate(lines, 2):
        try:
            yield Record(
                line["topic"],
                line["partition"],
                line["offset"],
                line["timestamp_ms"],
                _bytes(line["key"]),
                _bytes(line["value"]),
                tuple((name, _bytes(value) or b"") for name, value in line["headers"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise NoHistory(f"{path}, line {number} is no record: {error!r}. Record the history again.") from error


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
