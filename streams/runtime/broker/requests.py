"""Fetch and Produce as bytes: one version each, written and read in one pass (Kafka protocol guide, Fetch v11, Produce v7)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion

_HEADER = struct.Struct(">hhih")
_CORRELATION = struct.Struct(">i")
_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")
READ_COMMITTED = 1


class Fetched(NamedTuple):
    """What a broker says of one partition."""

    partition: TopicPartition
    error: int
    high_watermark: int
    aborted: list[tuple[int, int]]
    """(producer id, first offset) of transactions that were given up in this stretch."""
    records: bytes


class Produced(NamedTuple):
    partition: TopicPartition
    error: int
    offset: int
    """Of the first record."""


class _Header:
    __slots__ = ("_bytes", "correlation_id")

    def __init__(self, data: bytes = b"", correlation_id: int = 0) -> None:
        self._bytes = data
        self.correlation_id = correlation_id

    def encode(self) -> bytes:
        return self._bytes


class RawRequest:
    """A request whose bytes are made, in the shape that AIOKafkaConnection.send takes. It is its own response type."""

    API_KEY: int
    API_VERSION: int
    NAME: str

    def __init__(self, body: bytes, parse: Callable[[bytes], Any]) -> None:
        self._body = body
        self._parse = parse

    @property
    def RESPONSE_TYPE(self) -> RawRequest:  # noqa: N802  aiokafka's name
        return self

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> RawRequest:
        least, most = versions.get(self.API_KEY, (1, 0))
        if not least <= self.API_VERSION <= most:
            raise IncompatibleBrokerVersion(
                f"this broker takes {self.NAME} {least} to {most} and not {self.API_VERSION}: use Kafka 2.3 or newer"
            )
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        name = client_id.encode()
        return _Header(_HEADER.pack(self.API_KEY, self.API_VERSION, correlation_id, len(name)) + name)

    def encode(self) -> bytes:
        return self._body

    def parse_response_header(self, buffer: Any) -> _Header:
        return _Header(correlation_id=_CORRELATION.unpack_from(buffer.getbuffer())[0])

    def decode(self, buffer: Any) -> Any:
        return self._parse(buffer.getvalue())


class FetchRequest(RawRequest):
    """Answered with a list of Fetched, those of partitions without news among them."""

    API_KEY, API_VERSION, NAME = 1, 11, "Fetch"
    _HEAD = struct.Struct(">iiiibiii")  # replica, wait, least, most bytes, isolation, session, its epoch, topics
    _PARTITION = struct.Struct(">iiqqi")  # partition, leader epoch, offset, log start, most bytes

    def __init__(self, wanted: Mapping[TopicPartition, int], *, max_wait_ms: int, max_bytes: int, partition_bytes: int) -> None:
        """`wanted`: partition → the offset to read from."""
        by_topic: dict[str, list[bytes]] = {}
        for (topic, partition), offset in wanted.items():
            by_topic.setdefault(topic, []).append(self._PARTITION.pack(partition, -1, offset, -1, partition_bytes))
        parts = [self._HEAD.pack(-1, max_wait_ms, 1, max_bytes, READ_COMMITTED, 0, -1, len(by_topic))]
        for topic, partitions in by_topic.items():
            parts += (_text(topic), _INT32.pack(len(partitions)), *partitions)
        parts.append(b"\0\0\0\0\0\0")  # no forgotten topics, no rack
        super().__init__(b"".join(parts), _fetched)


class ProduceRequest(RawRequest):
    """Batches of several partitions, acknowledged by all in-sync replicas. Answered with a list of Produced."""

    API_KEY, API_VERSION, NAME = 0, 7, "Produce"
    _HEAD = struct.Struct(">hhii")  # no transaction, acks, timeout, topics

    def __init__(self, batches: Iterable[tuple[TopicPartition, bytes]], *, timeout_ms: int) -> None:
        by_topic: dict[str, list[tuple[int, bytes]]] = {}
        for (topic, partition), data in batches:
            by_topic.setdefault(topic, []).append((partition, data))
        parts: list[bytes] = [self._HEAD.pack(-1, -1, timeout_ms, len(by_topic))]
        for topic, found in by_topic.items():
            parts += (_text(topic), _INT32.pack(len(found)))
            for partition, data in found:
                parts += (_PLACE.pack(partition, len(data)), data)
        super().__init__(b"".join(parts), _produced)


_PLACE = struct.Struct(">ii")
_FETCHED_HEAD = struct.Struct(">iihii")  # correlation, throttle, error, session, topics
_FETCHED_PARTITION = struct.Struct(">ihqqqi")  # partition, error, high watermark, last stable, log start, aborted
_ABORTED = struct.Struct(">qq")
_RECORDS = struct.Struct(">ii")  # preferred replica, size
_PRODUCED_PARTITION = struct.Struct(">ihqqq")  # partition, error, offset, append time, log start


def _text(value: str) -> bytes:
    data = value.encode()
    return _INT16.pack(len(data)) + data


def _topic(data: bytes, at: int) -> tuple[str, int, int]:
    """(name, how many partitions follow, where)."""
    (size,) = _INT16.unpack_from(data, at)
    end = at + 2 + size
    return data[at + 2 : end].decode(), _INT32.unpack_from(data, end)[0], end + 4


def _fetched(data: bytes) -> list[Fetched]:
    _, _, _, _, topics = _FETCHED_HEAD.unpack_from(data)
    at = _FETCHED_HEAD.size
    found = []
    for _ in range(topics):
        topic, partitions, at = _topic(data, at)
        for _ in range(partitions):
            partition, error, high_watermark, _, _, count = _FETCHED_PARTITION.unpack_from(data, at)
            at += _FETCHED_PARTITION.size
            aborted = []
            for _ in range(max(count, 0)):
                aborted.append(_ABORTED.unpack_from(data, at))
                at += _ABORTED.size
            _, size = _RECORDS.unpack_from(data, at)
            at += _RECORDS.size
            size = max(size, 0)
            found.append(Fetched(TopicPartition(topic, partition), error, high_watermark, aborted, data[at : at + size]))
            at += size
    return found


def _produced(data: bytes) -> Sequence[Produced]:
    (topics,) = _INT32.unpack_from(data, 4)
    at = 8
    found = []
    for _ in range(topics):
        topic, partitions, at = _topic(data, at)
        for _ in range(partitions):
            partition, error, offset, _, _ = _PRODUCED_PARTITION.unpack_from(data, at)
            at += _PRODUCED_PARTITION.size
            found.append(Produced(TopicPartition(topic, partition), error, offset))
    return found
