"""Records that nobody can read, on every topic there is: ours, the changelogs, the ledger's, Faust's."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from tests.hostile.payloads import Item, fresh

OURS = ("dead-letters", "customer.responses")
"""Read by the honest customers as well: they pass garbage over."""


def record(chance: random.Random, topics: Sequence[str]) -> Item:
    """One record for one of the topics, under a key that belongs to nobody."""
    topic = chance.choice(topics)
    key = chance.choice((None, b"", fresh().encode(), b"\xff\x00", chance.randbytes(16), b'"json"', b"x" * 30_000))
    value, headers = chance.choice(_VALUES)(chance)
    if value is None and key is None:
        key = b"nothing"  # no client sends a record of neither
    if topic.endswith(("-state", "-changelog")) or topic.startswith(("node-journal", "ledger-state")):
        key = fresh().encode()  # under a key of its own: whoever writes over somebody's state has that state
    return Item(f"garbage on {topic}", value, key, headers, topic=topic)


def _random(chance: random.Random) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    return chance.randbytes(chance.choice((1, 20, 2000, 200_000))), ()


def _none(chance: random.Random) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    return None, ()


def _json(chance: random.Random) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    values: tuple[object, ...] = (None, 1, "x", [], {}, {"conversation_id": fresh()}, {"id": 1}, [[[]]], 10**400)
    return json.dumps(chance.choice(values)).encode(), _headers(chance, "application/json")


def _avro(chance: random.Random) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    return b"\xc3\x01" + chance.randbytes(8) + chance.randbytes(100), _headers(chance, "application/avro")


def _packed(chance: random.Random) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    """Looks like a state: MessagePack, of other shapes and depths."""
    return chance.choice(
        (b"\x80", b"\x90", b"\xc0", b"\x91" * 20_000 + b"\xc0", b"\xdf\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff", b"\x01\x9a")
    ), ()


def _deep(chance: random.Random) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    return b"[" * 200_000, _headers(chance, "application/json")


def _headers(chance: random.Random, content: str) -> tuple[tuple[str, bytes], ...]:
    kinds = (
        "hil.message.received",
        "hil.node.completed",
        "hil.node.task",
        "hil.run.started",
        "hil.model.called",
        "hil.timer.fired",
        "hil.rollup.changed",
        "hil.agent.health",
        "hil.customer.response",
        "hil.dead.letter",
        "x",
        "",
    )
    return (
        ("ce_type", chance.choice(kinds).encode()),
        ("content-type", content.encode()),
        ("ce_id", b"\xff"),
        ("ce_time", b"never"),
    )


_VALUES = (_random, _none, _json, _avro, _packed, _deep)
