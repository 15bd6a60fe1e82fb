"""Where a record goes: the partition every Kafka client but librdkafka would choose."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

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
