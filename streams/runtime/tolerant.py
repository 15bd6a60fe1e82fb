"""Reads what any producer could stop a processor with: aiokafka raises on it, for ever, or takes all memory there is.

Header names that are not UTF-8: the broker does not check them, and librdkafka writes whatever bytes it is given. What does not
decode is replaced, as the Java client does. The fast parser reads everything; only a batch that it cannot read is read again by
aiokafka's slower one. A batch that nobody can read, or that is too large to be read, is one record that says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from streams.runtime.unpacking import SMALL_BYTES, UnreadableBatch, codec_of, counted, unpacked

UNREADABLE = "hil-unreadable"
"""The header of the record that stands for a batch nobody can read: why."""
RECORD_BYTES = 1_000
"""About what a record with its headers takes as objects, beside its own bytes."""

_LOG_OVERHEAD = struct.calcsize(">qi")


def tolerate_header_names() -> None:
    """Make this process's consumers survive any header name. May be called any number of times."""
    fetcher.MemoryRecords = TolerantRecords


ANSWER_BYTES = 8 * 1024 * 1024
"""What the batches of one answer may take in memory before the rest of it is left: it is asked for again."""


class TolerantRecords:
    """aiokafka's MemoryRecords over one fetched partition. Ends early when a little has become too much."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fast = MemoryRecords(data)
        self._pos = 0
        self.weight = 0
        """About how many bytes the records take in memory that were read so far."""

    def size_in_bytes(self) -> int:
        return int(self._fast.size_in_bytes())

    def has_next(self) -> bool:
        return self.weight < ANSWER_BYTES and bool(self._fast.has_next())

    def next_batch(self) -> TolerantBatch | None:
        batch = self._fast.next_batch()
        if batch is None:
            return None
        begin = self._pos
        (length,) = struct.unpack_from(">i", self._data, begin + 8)
        self._pos = begin + _LOG_OVERHEAD + length
        return TolerantBatch(batch, memoryview(self._data)[begin : self._pos], self)


class TolerantBatch:
    """One batch, with everything of the fast one."""

    __slots__ = ("_data", "_fast", "_records_of", "unread", "weight")

    def __init__(self, fast: Any, data: memoryview, records: TolerantRecords) -> None:
        self._records_of = records
        self._fast = fast
        self._data = data
        self.unread = False
        """Its one record stands for those nobody can read."""
        self.weight = 0
        """About how many bytes its records take in memory, once it has been iterated over."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fast, name)

    def __next__(self) -> Any:
        """For markers of transactions, of which aiokafka takes the one record without iterating."""
        return next(self._fast)

    def __iter__(self) -> Iterator[Any]:
        try:
            records = self._records()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  whoever wrote it must not stop whoever reads it, whatever it is
            reason = str(error) if isinstance(error, UnreadableBatch) else f"{type(error).__name__}: {error}"
            first, last = self._fast.base_offset, self._fast.next_offset - 1
            reason = f"the batch of the offsets {first} to {last} cannot be read: {reason}"
            self.unread = True
            records = [Unread(last, self._fast.max_timestamp, headers=[(UNREADABLE, reason.encode(errors="replace"))])]
        self.weight += RECORD_BYTES * len(records)
        self._records_of.weight += self.weight
        return iter(records)

    def _records(self) -> list[Any]:
        """At once and in C: as a generator it took a twentieth of a busy process."""
        fast, data = self._fast, self._data
        self.weight = len(data)
        if fast.magic < 2:
            return list(fast)
        if codec_of(data):
            data = memoryview(unpacked(data))
            fast = DefaultRecordBatch(data)
            self.weight = len(data)
        if len(data) > SMALL_BYTES or fast.next_offset - fast.base_offset > SMALL_BYTES:
            counted(data)
        try:
            return list(fast)
        except UnicodeDecodeError:
            return list(_LenientBatch(data))


@dataclass(frozen=True, slots=True)
class Unread:
    """Stands for the records of a batch nobody can read, with the shape of one of aiokafka's, at the last of their offsets."""

    offset: int
    timestamp: int
    headers: list[tuple[str, bytes]]
    timestamp_type: int = 0
    key: None = None
    value: None = None
    checksum: None = None


def unreadable(record: Any) -> str | None:
    """Why the batch cannot be read that this record of aiokafka's stands for, if it does. No producer can write such a one."""
    if record.key is not None or record.value is not None or not record.headers or record.headers[0][0] != UNREADABLE:
        return None
    return str(record.headers[0][1].decode(errors="replace"))


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
