"""Records that say nothing, of every kind that somebody may write: for topics of events and for changelogs alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from schemas.codec import encode
from schemas.codec.registry import current, event_types
from schemas.events import AgentHealth, MessageReceived, RunStarted

YEAR_9999_MS = 253_402_300_799_999


class RawName(str):
    """A header name that is put on the wire as bytes that are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"na\xff\xfe"


@dataclass(frozen=True)
class Garbage:
    """One record. Without a partition it goes onto all of them."""

    name: str
    key: bytes | None = b"garbage"
    value: bytes | None = b"x"
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int | None = None


def typed(kind: str, content: bytes = b"application/json") -> list[tuple[str, bytes | None]]:
    return [("ce_type", kind.encode()), ("content-type", content)]


def kinds(key: bytes = b"garbage") -> list[Garbage]:
    """What a stranger may write onto any topic. `key`: one that real records have."""
    stray = MessageReceived(
        id="stray",
        time_ms=1,
        conversation_id="stray",
        message_id="m",
        text="hi",
        workflow="w",
        version="1",
        digest="d" * 64,
        origin="o",
    )
    avro, headers = encode(stray)
    types = sorted(event_types())
    shapes = [b"null", b"[]", b"{}", b'"text"', b"7", b"true", b'{"id": 1}', b'[[["a"]]]']
    return [
        Garbage("no value", key, None),
        Garbage("no key", None, b"{}"),
        Garbage("neither", None, None),
        Garbage("empty", key, b""),
        Garbage("random bytes", key, bytes(range(256)) * 3),
        Garbage("not JSON", key, b"{", typed(types[0])),
        Garbage("a marker alone", key, b"\xc3\x01"),
        Garbage("a fingerprint nobody knows", key, b"\xc3\x01" + b"\x07" * 40),
        *(
            Garbage(f"a fingerprint of {name} alone", key, b"\xc3\x01" + current(event_types()[name]).fingerprint)
            for name in types
        ),
        Garbage("Avro that ends too early", key, avro[:-3], headers),
        Garbage("Avro with something behind", key, avro + b"!", headers),
        Garbage("Avro with huge numbers", key, avro[:10] + b"\xff" * 60, headers),
        Garbage("an event of another topic", key, avro, headers),
        Garbage("a workflow event of nobody", key, *encode(_run_of_nobody())),
        Garbage("a health of nobody", key, *encode(_health_of_nobody())),
        *(
            Garbage(f"{what} as {name}", key, shape, typed(name))
            for name in types
            for what, shape in (
                ("nothing", b"{}"),
                ("wrong types", _with_wrong_types(name)),
                ("extremes", _with_extremes(name)),
            )
        ),
        *(Garbage(f"JSON {shape.decode()}", key, shape, typed(types[0])) for shape in shapes),
        *(Garbage(f"JSON {shape.decode()} without a type", key, shape) for shape in shapes),
        Garbage("digits without end", key, b'{"time_ms": ' + b"9" * 900_000 + b"}", typed(types[0])),
        Garbage("a number beyond doubles", key, b'{"time_ms": 1e999999}', typed(types[0])),
        Garbage("deep JSON", key, b"[" * 200_000, typed(types[0])),
        Garbage("deep msgpack", key, b"\x91" * 200_000),
        Garbage("half a surrogate pair", key, b'{"id": "\\ud800", "conversation_id": "\\udfff"}', typed(types[0])),
        Garbage("a key that is not UTF-8", b"\xff\xfe\x00", b"{}"),
        Garbage("an empty key", b"", b"{}"),
        Garbage("a key of 100 kB", b"k" * 100_000, b"{}"),
        Garbage("control characters", b"\x1b[2J\r\n\0", b'{"text": "\x1b]0;x\x07"}', [("ce_type", b"\x1b[31m\r\n")]),
        Garbage("a header name that is not UTF-8", key, b"{}", [(RawName("raw"), b"\xff")]),
        Garbage("headers twice", key, avro, [*headers, *headers, ("ce_id", b"\xff"), ("ce_id", None)]),
        Garbage("a header without a value", key, b"{}", [("ce_type", None), ("ce_id", None)]),
        Garbage("an id that is not UTF-8", key, b"{}", [("ce_id", b"\xff\xfe"), ("ce_type", b"\xff")]),
        Garbage("a frame of a registry", key, b"\x00\x00\x00\x00\x01" + b"x" * 10),
        Garbage("from before 1970", key, b"{}", (), -1),
        Garbage("from 1970", key, b"{}", (), 0),
        Garbage("from 9999", key, b"{}", (), YEAR_9999_MS),
        *(Garbage(f"msgpack {shape!r}", key, msgspec.msgpack.encode(shape)) for shape in _SHAPES),
        *(Garbage(f"a key of msgpack {shape!r}", msgspec.msgpack.encode(shape), b"\x90") for shape in _SHAPES),
        *(
            Garbage(f"a row {shape!r} of {name}", msgspec.msgpack.encode(name), msgspec.msgpack.encode(shape))
            for name in _ROWS
            for shape in _SHAPES
        ),
    ]


_SHAPES: tuple[Any, ...] = (
    None,
    [],
    {},
    1,
    -1,
    "text",
    [1, 2, 3],
    [None] * 12,
    ["a"] * 12,
    [{}, 0, 0, None, 0, ""],
    [2**63] * 12,
    [-(2**63)] * 12,
    [{"a": [1]}],
    {"entries": {}},
    [0, 0, b"", [], None, [], 0, 0, 0, "x"],
)
_ROWS: tuple[Any, ...] = (
    [0, 1, "calls"],
    [0, 1, "calls", "m", "p", "f", "a", "w", "n", "ok"],
    [1, 1, "calls", "m", "p", "f", "a", "w", "n", "ok"],
    [0, "now", "calls", "m", "p", "f", "a", "w", "n", "ok"],
    [0, 2**62, "calls", "m", "p", "f", "a", "w", "n", "ok"],
    [0, 1, "nonsense", "m"],
    [0, [1], {"a": 1}],
    [0, "llm.routing-decisions", 0],
    [0, "llm.routing-decisions", "first"],
    [0, "nonsense", 1],
)


def _run_of_nobody() -> RunStarted:
    return RunStarted(
        id="nobody",
        time_ms=YEAR_9999_MS,
        conversation_id="nobody",
        run_id="nobody",
        cause_id="nobody",
        ordinal=1,
        message_id="m",
        text="nul \0 and half \ufffd",
        workflow="w",
        version="1",
        digest="d" * 64,
    )


def _health_of_nobody() -> AgentHealth:
    return AgentHealth(
        id="nobody",
        time_ms=YEAR_9999_MS,
        conversation_id="",
        agent="nobody\0",
        healthy=False,
        executions=2**62,
        failures=1,
        window_ms=1,
        since_ms=YEAR_9999_MS,
    )


def _with_wrong_types(name: str) -> bytes:
    return json.dumps({key: [{"a": None}] for key in event_types()[name].model_fields}).encode()


def _with_extremes(name: str) -> bytes:
    """Every field at an extreme of its type: events that can be read, and that nobody would write."""
    fields = event_types()[name].model_fields.items()
    extremes = {
        field_name: YEAR_9999_MS if field_name.endswith("_ms") else _extreme(described.annotation, name)
        for field_name, described in fields
    }
    return json.dumps(extremes).encode()


def _extreme(kind: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return inner[-1]
    if inner and origin in (Union, UnionType):
        return _extreme(inner[0], name)
    if kind is bool:
        return True
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return [*kind][-1].value
    if kind in (int, float, Decimal):
        return 2**63 - 1
    if kind is str:
        return f"{name} " + "nul \0 and \x1b[2J " + "\u202e" + "x" * 300
    if origin in (list, tuple):
        return []
    return {}


@dataclass
class Written:
    """What became of it."""

    accepted: int = 0
    refused: list[str] = field(default_factory=list)
    """By the broker, which is nobody's fault."""


async def litter(bootstrap: str, topics: Sequence[str], garbage: Sequence[Garbage]) -> Written:
    """Put every piece onto every partition of every topic, each in a batch of its own."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=16 << 20)
    await producer.start()
    written = Written()
    try:
        for topic in topics:
            for partition in sorted(await producer.partitions_for(topic)):
                for piece, waiting in [(piece, await _sent(producer, topic, partition, piece)) for piece in garbage]:
                    try:
                        await waiting
                        written.accepted += 1
                    except KafkaError as error:
                        written.refused.append(f"{piece.name} on {topic}: {error}")
    finally:
        await producer.stop()
    return written


async def _sent(producer: Any, topic: str, partition: int, piece: Garbage) -> Any:
    batch = BatchBuilder(16 << 20, 0, is_transactional=False)
    batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 16 << 20)
    headers = [(name, value) for name, value in piece.headers]
    assert batch.append(timestamp=piece.timestamp_ms, key=piece.key, value=piece.value, headers=headers) is not None
    batch.close()
    return await producer.send_batch(batch, topic, partition=partition)
