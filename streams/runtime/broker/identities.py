"""Which topic a name stands for: a broker gives every topic an id when it is created (Kafka protocol guide, Metadata v10)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from streams.runtime.broker.client import PatientClient
from streams.runtime.broker.requests import RawRequest
from streams.runtime.closing import close

_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")
ID_BYTES = 16


class TopicIdsRequest(RawRequest):
    """Answered with (name → id) of the topics there are."""

    API_KEY, API_VERSION, NAME = 3, 10, "Metadata"

    def __init__(self, topics: Sequence[str]) -> None:
        parts = [b"\0", _unsigned(len(topics) + 1)]  # the end of the header's own fields comes first in this version
        for topic in topics:
            name = topic.encode()
            parts += (bytes(ID_BYTES), _unsigned(len(name) + 1), name, b"\0")
        parts.append(b"\0\0\0\0")  # create none, no operations of cluster or topics, no further fields
        super().__init__(b"".join(parts), _ids)


async def topic_ids(bootstrap: str, topics: Iterable[str]) -> dict[str, bytes]:
    """Name → id. Of a broker before Kafka 2.8, or one that gives none: nothing. Raises KafkaError."""
    client: Any = PatientClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        found: dict[str, bytes] = await client.ask_any(TopicIdsRequest(tuple(topics))) or {}
    except IncompatibleBrokerVersion:
        return {}
    except KafkaError as error:
        if not error.retriable:
            raise
        return {}
    finally:
        await close(client.close())
    return {name: each for name, each in found.items() if any(each)}


def _unsigned(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


class _Answer:
    """The bytes of an answer, read from front to back."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def skip(self, size: int) -> None:
        self._at += size

    def int16(self) -> int:
        self._at += 2
        return int(_INT16.unpack_from(self._data, self._at - 2)[0])

    def bytes(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def text(self) -> str:
        return self.bytes(max(self.unsigned() - 1, 0)).decode()

    def count(self) -> int:
        return max(self.unsigned() - 1, 0)

    def tags(self) -> None:
        for _ in range(self.unsigned()):
            self.unsigned()
            self.skip(self.unsigned())


def _ids(data: bytes) -> dict[str, bytes]:
    answer = _Answer(data, 4)
    answer.tags()
    answer.skip(4)  # throttled
    for _ in range(answer.count()):  # brokers
        answer.skip(4)
        answer.text()
        answer.skip(4)
        answer.text()
        answer.tags()
    answer.text()  # the cluster's id
    answer.skip(4)
    found = {}
    for _ in range(answer.count()):
        error, name, topic_id = answer.int16(), answer.text(), answer.bytes(ID_BYTES)
        answer.skip(1)
        for _ in range(answer.count()):  # partitions
            answer.skip(2 + 4 + 4 + 4)
            for _ in range(3):
                answer.skip(4 * answer.count())
            answer.tags()
        answer.skip(4)
        answer.tags()
        if not error:
            found[name] = topic_id
    return found
