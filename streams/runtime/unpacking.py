"""What a batch of records may become in memory: decompressed up to a bound, and counted before it is made into objects.

A record of 1.8 MB of gzip may stand for gigabytes, and eight megabytes of headers for four million objects.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import cramjam
from aiokafka.record.util import decode_varint

MAX_UNPACKED_BYTES = 32 * 1024 * 1024
"""Of one batch: four times what a topic accepts. Beyond it the batch is not read: its records are one dead letter."""
MAX_OBJECTS = 250_000
"""Records and headers of one batch."""
SMALL_BYTES = 1024 * 1024
"""A batch that has no more cannot have so many that it has to be counted."""
HEADER_BYTES = 61
"""Kafka's record batch format, magic 2: what stands before the records, never compressed."""

_LENGTH, _ATTRIBUTES, _COUNT = struct.Struct(">i"), struct.Struct(">h"), struct.Struct(">i")
_LENGTH_AT, _ATTRIBUTES_AT, _COUNT_AT = 8, 21, 57
_CODEC = 0x07
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


class UnreadableBatch(Exception):
    """A batch with a right checksum that nobody can or may make records of. Says why; it is the same the next time."""


def codec_of(batch: memoryview | bytes) -> int:
    """0: not compressed."""
    return int(_ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)[0]) & _CODEC


def unpacked(batch: memoryview, most: int = MAX_UNPACKED_BYTES) -> bytes:
    """The batch, of magic 2, as if it had never been compressed. Raises UnreadableBatch."""
    codec = codec_of(batch)
    if not codec:
        return bytes(batch)
    unpack = _CODECS.get(codec)
    if unpack is None:
        raise UnreadableBatch(f"compression {codec} is not known")
    records = unpack(bytes(batch[HEADER_BYTES:]), most)
    header = bytearray(batch[:HEADER_BYTES])
    (attributes,) = _ATTRIBUTES.unpack_from(header, _ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(header, _ATTRIBUTES_AT, attributes & ~_CODEC)
    _LENGTH.pack_into(header, _LENGTH_AT, HEADER_BYTES + len(records) - 12)
    return bytes(header) + records


def counted(batch: bytes | memoryview, most: int = MAX_OBJECTS) -> None:
    """Raises UnreadableBatch when an uncompressed batch has more records and headers than that."""
    (objects,) = _COUNT.unpack_from(batch, _COUNT_AT)
    if 0 <= objects <= most and len(batch) > SMALL_BYTES:
        for headers in _header_counts(bytearray(batch)):
            objects += headers
            if objects > most:
                break
    if not 0 <= objects <= most:
        raise UnreadableBatch(f"it has more than {most} records and headers")


def _header_counts(batch: bytearray) -> Iterator[int]:
    """How many headers each record says it has, in order, as far as the batch can be followed."""
    at = HEADER_BYTES
    try:
        while at < len(batch):
            length, start = decode_varint(batch, at)
            _, inner = decode_varint(batch, start + 1)  # after the attributes: the time
            _, inner = decode_varint(batch, inner)  # the offset
            for _ in ("key", "value"):
                size, inner = decode_varint(batch, inner)
                inner += max(size, 0)
            headers, _ = decode_varint(batch, inner)
            yield max(headers, 0)
            at = start + length
            if length <= 0:
                return
    except (IndexError, ValueError) as error:
        raise UnreadableBatch(f"its records cannot be told apart: {error}") from error


def _gunzip(data: bytes, most: int) -> bytes:
    pieces, left = [], most
    while data:
        stream = zlib.decompressobj(wbits=31)
        try:
            piece = stream.decompress(data, left + 1)
        except zlib.error as error:
            raise UnreadableBatch(f"its gzip data is damaged: {error}") from error
        left -= len(piece)
        if left < 0:
            raise _too_large(most)
        if not stream.eof:
            raise UnreadableBatch("its gzip data ends too early")
        pieces.append(piece)
        data = stream.unused_data.lstrip(b"\0")
    return b"".join(pieces)


def _unsnap(data: bytes, most: int) -> bytes:
    blocks = _xerial_blocks(data) if data.startswith(_XERIAL) else iter((data,))
    pieces, left = [], most
    for block in blocks:
        try:
            left -= cramjam.snappy.decompress_raw_len(block)
            if left < 0:
                raise _too_large(most)
            pieces.append(bytes(cramjam.snappy.decompress_raw(block)))
        except cramjam.DecompressionError as error:
            raise UnreadableBatch(f"its snappy data is damaged: {error}") from error
    return b"".join(pieces)


def _xerial_blocks(data: bytes) -> Iterator[bytes]:
    at = _XERIAL_HEADER_BYTES
    while at < len(data):
        if at + 4 > len(data) or (size := _LENGTH.unpack_from(data, at)[0]) < 0 or at + 4 + size > len(data):
            raise UnreadableBatch("its snappy data ends too early")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def _into(codec: str, decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes, int], bytes]:
    """Into a place that grows up to the bound: what these formats say of their own size need not be true."""

    def unpack(data: bytes, most: int) -> bytes:
        room = min(most, max(1 << 16, 8 * len(data)))
        while True:
            place = bytearray(room)
            try:
                size = decompress_into(data, place)
            except cramjam.DecompressionError as error:
                if room >= most:
                    raise UnreadableBatch(f"its {codec} data is damaged, or more than {most} bytes: {error}") from error
                room = min(most, 8 * room)
                continue
            return bytes(memoryview(place)[:size])

    return unpack


def _too_large(most: int) -> UnreadableBatch:
    return UnreadableBatch(f"decompressed it has more than {most} bytes")


_CODECS: dict[int, Callable[[bytes, int], bytes]] = {
    1: _gunzip,
    2: _unsnap,
    3: _into("lz4", cramjam.lz4.decompress_into),
    4: _into("zstd", cramjam.zstd.decompress_into),
}
"""By the number in a batch's attributes."""
