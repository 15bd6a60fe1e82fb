"""Where a record goes: the partition every Kafka client but librdkafka would choose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from streams.runtime import Outgoing, Publisher
from streams.runtime.publisher import key_hash


@given(st.binary(max_size=80), st.integers(1, 64))
def test_a_key_goes_where_the_clients_own_partitioner_would_send_it(key: bytes, count: int):
    assert key_hash(key) % count == DefaultPartitioner()(key, list(range(count)), list(range(count)))


def test_known_hashes_of_the_java_client():
    """From Utils.murmur2 of Apache Kafka's own test, made positive."""
    known = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }
    assert {key: key_hash(key) for key in known} == {key: value & 0x7FFFFFFF for key, value in known.items()}


async def test_a_record_is_not_begun_while_one_before_it_is_on_its_way_and_is_not():
    """It would be worked on before the one that precedes it."""
    offered: list[bytes | None] = []

    def begin(partition: Any, out: Outgoing) -> bool:
        offered.append(out.value)
        return out.value != b"second"

    fetching: Any = SimpleNamespace(begin=begin, offer=lambda *_: None)
    publisher = Publisher("nowhere:0", fetching=fetching)
    publisher._counts["t"] = 1
    publisher._line_up = lambda lane: None  # type: ignore[method-assign]
    for value in (b"first", b"second", b"third"):
        publisher.publish(Outgoing("t", b"k", value))
    assert offered == [b"first", b"second"]
    await publisher.abort()
