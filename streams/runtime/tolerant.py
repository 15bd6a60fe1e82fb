"""Reads records whose header names are not UTF-8. aiokafka raises on one, for ever, so any producer could stop a processor.

The broker does not check them, and librdkafka writes whatever bytes it is given. What does not decode is replaced, as the Java
client does. The fast parser reads everything; only a batch that it cannot read is read again by aiokafka's slower one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LOG_OVERHEAD = struct.calcsize(">qi")


def tolerate_header_names() -> None:
    """Make this process's consumers survive any header name. May be called any number of times."""
    fetcher.MemoryRecords = TolerantRecords


class TolerantRecords:
    """aiokafka's MemoryRecords over one fetched partition."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fast = MemoryRecords(data)
        self._pos = 0

    def size_in_bytes(self) -> int:
        return int(self._fast.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._fast.has_next())

    def next_batch(self) -> TolerantBatch | None:
        batch = self._fast.next_batch()
        if batch is None:
            return None
        begin = self._pos
        (length,) = struct.unpack_from(">i", self._data, begin + 8)
        self._pos = begin + _LOG_OVERHEAD + length
        return TolerantBatch(batch, memoryview(self._data)[begin : self._pos])


class TolerantBatch:
    """One batch, with everything of the fast one."""

    __slots__ = ("_data", "_fast")

    def __init__(self, fast: Any, data: memoryview) -> None:
        self._fast = fast
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fast, name)

    def __next__(self) -> Any:
        """For markers of transactions, of which aiokafka takes the one record without iterating."""
        return next(self._fast)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._fast))  # at once and in C: as a generator it took a twentieth of a busy process
        except UnicodeDecodeError:
            return iter(_LenientBatch(self._data))


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Lenient(self._buffer)


class _Lenient(bytearray):
    """Bytes whose slices never fail to decode."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Lenient(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
