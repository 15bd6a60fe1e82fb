"""Records as other people's producers write them: any compression, any header name."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams.runtime import tail


@pytest.fixture
async def topic(kafka_bootstrap: str, unique: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(unique, 1, 1)])
    finally:
        await admin.close()
    return unique


class RawName(str):
    """A header name that is put on the wire as these bytes."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"na\xff\xfe"


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_is_read(kafka_bootstrap: str, topic: str, compression: str | None):
    await produce(kafka_bootstrap, topic, [("fine", b"v")] * 3, compression)
    async with tail(kafka_bootstrap, [topic], "earliest", until_end=True) as records:
        assert [record.value async for record in records] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("compression", [0, 1])
async def test_a_header_name_that_is_not_utf8_stops_nobody(kafka_bootstrap: str, topic: str, compression: int):
    """It is read with replacement characters, and the records around it as they are; plain and in gzip."""
    batch = BatchBuilder(10_000, compression, is_transactional=False)
    batch._builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, 0, 10_000)
    for value, name in ((b"a", "fine"), (b"b", RawName("raw")), (b"c", "fine")):
        assert batch.append(timestamp=None, key=None, value=value, headers=[(name, b"\xff")]) is not None
    batch.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    try:
        await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()
    async with tail(kafka_bootstrap, [topic], "earliest", until_end=True) as records:
        seen = [(record.value, record.headers[0][0]) async for record in records]
    assert seen == [(b"a", "fine"), (b"b", "na\ufffd\ufffd"), (b"c", "fine")]


async def produce(bootstrap: str, topic: str, headers: list[tuple[str, bytes]], compression: str | None) -> None:
    """One batch, one record a header, numbered."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=compression, linger_ms=100)
    await producer.start()
    try:
        sent = [await producer.send(topic, str(at).encode(), headers=[header]) for at, header in enumerate(headers)]
        for future in sent:
            await future
    finally:
        await producer.stop()
