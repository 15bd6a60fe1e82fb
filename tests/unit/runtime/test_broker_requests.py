"""Fetch and Produce on the wire: what is written here is what aiokafka writes, and what aiokafka's classes describe is read."""

from __future__ import annotations

from io import BytesIO

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7

from streams.runtime.broker.requests import Fetched, FetchRequest, Produced, ProduceRequest

A0, A1, B3 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 3)
CORRELATION = b"\0\0\0\7"


def test_a_fetch_asks_for_what_aiokafka_would_ask_for():
    request = FetchRequest({A0: 5, A1: 6, B3: 2**40}, max_wait_ms=100, max_bytes=50, partition_bytes=20)
    topics = [("a", [(0, -1, 5, -1, 20), (1, -1, 6, -1, 20)]), ("b", [(3, -1, 2**40, -1, 20)])]
    assert request.encode() == FetchRequest_v11(-1, 100, 1, 50, 1, 0, -1, topics, [], "").encode()


def test_an_answer_to_a_fetch_is_read_whole():
    answer = FetchResponse_v11(
        0,
        0,
        0,
        [
            ("a", [(0, 0, 9, 8, 0, [(77, 3), (78, 4)], -1, b"records"), (1, 6, -1, -1, -1, None, -1, b"")]),
            ("ü", [(3, 0, 1, 1, 0, [], -1, b"more")]),
        ],
    )
    request = FetchRequest({A0: 5}, max_wait_ms=1, max_bytes=1, partition_bytes=1)
    data = BytesIO(CORRELATION + answer.encode())
    assert request.parse_response_header(data).correlation_id == 7
    assert request.decode(data) == [
        Fetched(A0, 0, 9, [(77, 3), (78, 4)], b"records"),
        Fetched(A1, 6, -1, [], b""),
        Fetched(TopicPartition("ü", 3), 0, 1, [], b"more"),
    ]


def test_batches_are_produced_as_aiokafka_would():
    request = ProduceRequest([(A0, b"one"), (B3, b"two"), (A1, b"three")], timeout_ms=9)
    topics = [("a", [(0, b"one"), (1, b"three")]), ("b", [(3, b"two")])]
    assert request.encode() == ProduceRequest_v7(None, -1, 9, topics).encode()


def test_an_answer_to_a_produce_is_read_whole():
    answer = ProduceResponse_v7([("a", [(0, 0, 12, -1, 0), (1, 6, -1, -1, -1)]), ("b", [(3, 46, 7, -1, 0)])], 0)
    found = ProduceRequest([], timeout_ms=1).decode(BytesIO(CORRELATION + answer.encode()))
    assert found == [Produced(A0, 0, 12), Produced(A1, 6, -1), Produced(B3, 46, 7)]


@pytest.mark.parametrize("versions", [{}, {1: (0, 10)}, {1: (12, 17)}])
def test_a_broker_that_does_not_take_our_version_is_refused_in_words(versions: dict[int, tuple[int, int]]):
    with pytest.raises(IncompatibleBrokerVersion, match=r"Kafka 2\.3 or newer"):
        FetchRequest({A0: 0}, max_wait_ms=1, max_bytes=1, partition_bytes=1).prepare(versions)
