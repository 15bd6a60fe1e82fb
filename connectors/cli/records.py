"""`hil send` and `hil watch`: records in, records past."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from connectors.cli import console
from connectors.cli.ports import CannotGoOn, Gateway, Seen, System

BATCH = 500


async def send(system: System, file: str, *, topic: str) -> None:
    """Each line of a file (or standard input) as one record. Lines are sent as they are: intake judges them."""
    async with system.attached() as gateway:
        sent = strange = 0
        batch: list[tuple[str | None, bytes]] = []
        for line in _lines(file):
            key, is_object = _read(line)
            strange += not is_object
            batch.append((key, line))
            if len(batch) >= BATCH:
                sent += await _flush(gateway, topic, batch)
        sent += await _flush(gateway, topic, batch)
        console.report(f"{sent} records on {topic}; watch the answers with `hil watch customer.responses`")
        if strange:
            console.report(
                f"{strange} of them are no JSON object and will be refused: see `hil watch dead-letters --from earliest`"
            )


async def _flush(gateway: Gateway, topic: str, batch: list[tuple[str | None, bytes]]) -> int:
    count = len(batch)
    if batch:
        await gateway.send(topic, batch)
        batch.clear()
    return count


def _lines(file: str) -> Iterator[bytes]:
    if file == "-":
        yield from (line.rstrip(b"\r\n") for line in sys.stdin.buffer if line.strip())
        return
    try:
        with open(file, "rb") as lines:
            yield from (line.rstrip(b"\r\n") for line in lines if line.strip())
    except OSError as error:
        raise CannotGoOn(f"cannot read {file}: {error.strerror}. Give a file of JSON lines, or - for standard input.") from error


def _read(line: bytes) -> tuple[str | None, bool]:
    """The conversation, if the line says one, so that its messages keep their order; and whether it is an object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None, False
    if not isinstance(value, dict):
        return None, False
    key = value.get("conversation_id")
    return (key if isinstance(key, str) else None), True


async def watch(system: System, topics: list[str], *, start: str, as_json: bool, limit: int | None) -> None:
    """Print records as they flow, one a line, until Ctrl-C or the limit."""
    position: Any = start if start in ("latest", "earliest") else _timestamp(start)
    async with system.attached() as gateway, gateway.tail(topics, start=position) as records:
        shown = 0
        async for record in records:
            _print(record, as_json)
            shown += 1
            if limit is not None and shown >= limit:
                return


def _timestamp(text: str) -> int:
    try:
        return int(text) if text.isdigit() else int(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) * 1000)
    except ValueError:
        raise CannotGoOn(
            f"--from takes earliest, latest, milliseconds, or a time like 2026-01-31T12:00:00; not {text!r}"
        ) from None


def _clock(ms: int) -> str:
    """In local time; a producer may claim one that no calendar has."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(ms / 1000))
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def _print(record: Seen, as_json: bool) -> None:
    if as_json:
        line = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": record.key,
            "type": record.type,
            "value": record.body,
        }
        console.data(json.dumps(line, ensure_ascii=False))
        return
    clock = _clock(record.timestamp_ms)
    body = record.body if isinstance(record.body, str) else json.dumps(record.body, ensure_ascii=False)
    head = f"{clock} {record.topic}[{record.partition}]@{record.offset} {record.type or ''} {record.key or ''}"
    console.data(f"{head} {body}")
