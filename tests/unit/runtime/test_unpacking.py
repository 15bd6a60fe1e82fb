"""Batches that stand for more than they are: read up to a bound, and otherwise one record that says why not."""

from __future__ import annotations

import random
import zlib

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.runtime.tolerant import TolerantRecords, unreadable
from streams.runtime.unpacking import MAX_OBJECTS, MAX_UNPACKED_BYTES, UnreadableBatch, unpacked

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
NONE = 0


def batch(codec: int, *values: bytes, headers: list[tuple[str, bytes]] | None = None, offset: int = 5) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 30)
    for at, value in enumerate(values):
        assert builder.append(at, 1_700_000_000_000, b"key", value, headers or []) is not None
    data = bytearray(builder.build())
    data[:8] = offset.to_bytes(8, "big")  # the base offset is not part of the checksum
    return bytes(data)


def read(data: bytes) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in one(data)]


def one(data: bytes) -> list[object]:
    found = TolerantRecords(data).next_batch()
    assert found is not None
    assert found.validate_crc()
    return list(found)


def reason(data: bytes) -> str:
    [record] = one(data)
    return unreadable(record) or ""


@pytest.mark.parametrize("codec", [NONE, *CODECS.values()], ids=["none", *CODECS])
@pytest.mark.parametrize("size", [0, 1, 1_000, 100_000, 3_000_000])
def test_what_was_compressed_reads_as_what_it_was(codec: int, size: int):
    values = random.Random(size).randbytes(size), b"x" * size
    assert read(batch(codec, *values, headers=[("h", b"v")])) == [(5, values[0]), (6, values[1])]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_bomb_is_one_record_that_names_its_offsets_and_the_next_batch_is_read(codec: int):
    bomb = batch(codec, *([b"\0" * 9_000_000] * 4))
    assert len(bomb) < 2_000_000
    records = TolerantRecords(bomb + batch(NONE, b"next", offset=9))
    first, second = records.next_batch(), records.next_batch()
    assert first is not None
    assert second is not None
    [stands] = first
    assert stands.offset == 8
    assert "offsets 5 to 8" in (unreadable(stands) or "")
    assert str(MAX_UNPACKED_BYTES) in (unreadable(stands) or "")
    assert first.weight < 2_000_000
    assert [record.value for record in second] == [b"next"]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_no_more_than_the_bound_is_ever_unpacked(codec: int):
    fits = batch(codec, b"\0" * 10_000)
    assert len(unpacked(memoryview(fits), 10_100)) == 61 + len(batch(NONE, b"\0" * 10_000)) - 61
    with pytest.raises(UnreadableBatch):
        unpacked(memoryview(fits), 9_999)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_damaged_data_with_a_right_checksum_is_one_record_that_says_so(codec: int):
    data = bytearray(batch(codec, b"x" * 10_000))
    damaged = checksummed(data[:61] + bytes(random.Random(1).randbytes(len(data) - 61)))
    assert "cannot be read" in reason(damaged)
    assert "cannot be read" in reason(checksummed(data[:-10]))


def test_an_unknown_compression_is_one_record_that_says_so():
    data = bytearray(batch(NONE, b"x"))
    data[22] |= 6
    assert "compression 6 is not known" in reason(checksummed(data))


def test_records_that_cannot_be_told_apart_are_one_record_that_says_so():
    data = bytearray(batch(NONE, b"x" * 100, b"y" * 100))
    data[61] = 3
    assert "cannot be read" in reason(checksummed(data))


def test_a_record_of_headers_alone_is_counted_before_it_is_made():
    data = batch(NONE, b"v", headers=[("", b"")] * (MAX_OBJECTS + 1))
    assert len(data) < SMALL
    assert len(one(data)) == 1, "so few bytes may be made"
    data = batch(NONE, b"v" * SMALL, headers=[("", b"")] * (MAX_OBJECTS + 1))
    assert f"more than {MAX_OBJECTS} records and headers" in reason(data)


SMALL = 1 << 20


def test_two_members_of_one_gzip_are_one_stream():
    plain = batch(NONE, b"a", b"b")
    packed = bytearray(batch(1, b"a", b"b"))
    halves = plain[61:70], plain[70:]
    members = b"".join(_gzip(half) for half in halves)
    assert read(checksummed(packed[:61] + members)) == [(5, b"a"), (6, b"b")]


def _gzip(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=31)
    return stream.compress(data) + stream.flush()


def test_a_header_name_that_is_no_text_is_read_in_a_compressed_batch_too():
    data = bytearray(batch(NONE, b"v", headers=[("name", b"")]))
    at = data.index(b"name")
    data[at : at + 4] = b"\xff\xfe\xfd\xfc"
    packed = checksummed(bytearray(data[:61]) + _gzip(bytes(data[61:])), codec=1)
    [record] = one(packed)
    assert record.value == b"v"  # type: ignore[attr-defined]


def checksummed(data: bytearray | bytes, *, codec: int = 0) -> bytes:
    """With the length and the checksum that belong to its bytes."""
    from aiokafka.record.util import calc_crc32c

    made = bytearray(data)
    made[8:12] = (len(made) - 12).to_bytes(4, "big")
    made[22] |= codec
    made[17:21] = calc_crc32c(memoryview(made)[21:]).to_bytes(4, "big")
    return bytes(made)
