"""One partition: offsets, idempotent and transactional appends, the last stable offset, compaction, retention."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

Sent = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]], int]
"""key, value, headers, timestamp in ms"""

REMEMBERED_BATCHES = 5


class Entry:
    """One offset: a record, or a control record that ends a transaction."""

    __slots__ = (
        "aborted",
        "control",
        "epoch",
        "event",
        "headers",
        "key",
        "offset",
        "pid",
        "timestamp",
        "transactional",
        "value",
    )

    def __init__(self, offset: int, sent: Sent, pid: int, epoch: int, transactional: bool, control: str | None = None) -> None:
        self.offset = offset
        self.key, self.value, self.headers, self.timestamp = sent
        self.pid, self.epoch, self.transactional, self.control = pid, epoch, transactional, control
        self.aborted = False
        self.event: Any = None
        """What the oracle has read in it."""


@dataclass(slots=True)
class ProducerState:
    epoch: int
    next_sequence: int = 0
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_BATCHES))
    """first sequence, count, offset"""
    open_since: int | None = None
    """First offset of its open transaction here."""


class PartitionLog:
    def __init__(self, tp: TopicPartition, appended: Callable[[TopicPartition, Entry], None] | None = None) -> None:
        self.tp = tp
        self.entries: list[Entry] = []
        self.start = self.end = 0
        self.stable = 0
        """The last stable offset: everything before it is decided."""
        self.appended = appended
        self.waiting: list[Callable[[], None]] = []
        """Fetches that came before there was anything for them."""
        self._producers: dict[int, ProducerState] = {}
        self._gaps = False
        self.state: dict[bytes, bytes] = {}
        """Last committed value of each key, of what was written in transactions."""

    def produce(self, pid: int, epoch: int, sequence: int, records: Sequence[Sent], *, transactional: bool = False) -> int:
        """The offset of the first record. Raises what the broker answers, as aiokafka's classes. pid -1: not idempotent."""
        if pid < 0:
            return self._append(records, -1, -1, transactional=False)
        state = self._producers.get(pid)
        if state is None:
            state = self._producers[pid] = ProducerState(epoch)
            state.next_sequence = sequence  # a producer nobody knows here may begin anywhere
        if epoch < state.epoch:
            raise kafka_errors.InvalidProducerEpoch
        if epoch > state.epoch:
            if sequence != 0:
                raise kafka_errors.OutOfOrderSequenceNumber
            state.epoch, state.next_sequence = epoch, 0
            state.batches.clear()
        for first, count, offset in state.batches:
            if first == sequence and count == len(records):
                return offset
        if sequence != state.next_sequence:
            raise kafka_errors.OutOfOrderSequenceNumber
        if transactional and state.open_since is None:
            state.open_since = self.end
        offset = self._append(records, pid, epoch, transactional=transactional)
        state.next_sequence += len(records)
        state.batches.append((sequence, len(records), offset))
        return offset

    def mark(self, pid: int, epoch: int, *, commit: bool, timestamp: int = 0) -> None:
        """Write the marker that ends a producer's transaction here; producers of an older epoch are shut out."""
        state = self._producers.get(pid)
        if state is None:
            state = self._producers[pid] = ProducerState(epoch)
        if epoch > state.epoch:
            state.epoch, state.next_sequence = epoch, 0
            state.batches.clear()
        if state.open_since is not None:
            for entry in self.entries[self._index(state.open_since) :]:
                if entry.pid == pid and entry.transactional and entry.control is None:
                    if not commit:
                        entry.aborted = True
                    elif entry.key is not None:
                        self._keep(entry.key, entry.value)
        state.open_since = None
        marker = Entry(self.end, (None, None, (), timestamp), pid, epoch, True, "commit" if commit else "abort")
        self.entries.append(marker)
        self.end += 1
        self._settle()

    def _keep(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.state.pop(key, None)
        else:
            self.state[key] = value

    def _append(self, records: Sequence[Sent], pid: int, epoch: int, *, transactional: bool) -> int:
        first = self.end
        for sent in records:
            entry = Entry(self.end, sent, pid, epoch, transactional)
            self.entries.append(entry)
            self.end += 1
            if self.appended is not None:
                self.appended(self.tp, entry)
        self._settle()
        return first

    def _settle(self) -> None:
        open_since = [state.open_since for state in self._producers.values() if state.open_since is not None]
        self.stable = min(open_since) if open_since else self.end
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for again in waiting:
                again()

    # reading

    def end_for(self, *, committed: bool) -> int:
        return self.stable if committed else self.end

    def read(self, offset: int, limit: int, *, committed: bool) -> tuple[list[Entry], int]:
        """Up to `limit` records that a reader may see from an offset on, and where it goes on. Raises OffsetOutOfRange."""
        if offset < self.start or offset > self.end:
            raise kafka_errors.OffsetOutOfRangeError
        bound = self.stable if committed else self.end
        found: list[Entry] = []
        following = offset
        for at in range(self._index(offset), len(self.entries)):
            entry = self.entries[at]
            if entry.offset >= bound:
                break
            if len(found) >= limit:
                return found, following
            following = entry.offset + 1
            if entry.control is None and not (committed and entry.aborted):
                found.append(entry)
        return found, max(following, bound)

    def _index(self, offset: int) -> int:
        if self._gaps:
            return bisect_left(self.entries, offset, key=lambda entry: entry.offset)
        return max(0, offset - self.start)

    # housekeeping

    def compact(self) -> None:
        """Keep the last decided record of each key; what was aborted and what was overtaken goes, offsets stay."""
        last: dict[bytes | None, int] = {}
        for entry in self.entries:
            if entry.offset < self.stable and entry.control is None and not entry.aborted:
                last[entry.key] = entry.offset
        kept = [
            entry
            for entry in self.entries
            if entry.offset >= self.stable or entry.control is not None or last.get(entry.key) == entry.offset
        ]
        self._gaps = self._gaps or len(kept) != len(self.entries)
        self.entries = kept

    def delete_before(self, offset: int) -> None:
        """Retention: the log begins at this offset from now on."""
        self.entries = self.entries[self._index(offset) :]
        self.start = max(self.start, offset)

    def table(self) -> dict[bytes, bytes]:
        """What a reader of everything committed would keep: the last value of each key."""
        kept: dict[bytes, bytes] = {}
        for entry in self.entries:
            if entry.offset >= self.stable or entry.control is not None or entry.aborted or entry.key is None:
                continue
            if entry.value is None:
                kept.pop(entry.key, None)
            else:
                kept[entry.key] = entry.value
        return kept

    def __repr__(self) -> str:
        return f"<{self.tp.topic}-{self.tp.partition} {self.start}..{self.end} stable {self.stable}>"

    def records(self) -> list[Any]:
        return [entry for entry in self.entries if entry.control is None]
