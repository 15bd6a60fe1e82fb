"""What the records of one partition have done beyond its committed position, and how much of it may be committed.

The watermark is the first offset whose record is not settled. Only puts of records below it are handed out for a commit,
together with the position they belong to; so a commit never carries state newer than its position. Journal entries, and puts
of records that said `ahead`, need no position: they are handed out at once.

There are thousands of entries and puts at any time. None stays in a cycle, so the collector need not look at them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic

import msgspec

from streams.runtime.model import S, StateTooLarge
from streams.runtime.store import StateStore


class Entry(msgspec.Struct, Generic[S], eq=False, gc=False):
    """One record past the watermark. Settled when its handler is through and all it published is durable."""

    offset: int
    """-1 while nobody knows it: the record is on its way to the broker."""
    timestamp_ms: int = 0
    """Of a record that was begun so."""
    waiting: int = 1
    """Unfinished parts: the handler, and each output that is not durable."""
    settled: bool = False
    size: int = 0
    """Bytes of the record, where they are many."""
    puts: tuple[Put[S], ...] = ()
    _located: asyncio.Future[None] | None = None
    waited: bool = False
    """It was set aside, and what it waited for has ended."""

    async def located(self) -> None:
        """Wait until the offset is known."""
        if self.offset < 0:
            self._located = self._located or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._located)

    def locate(self, offset: int, timestamp_ms: int) -> None:
        self.offset, self.timestamp_ms = offset, timestamp_ms
        for put in self.puts:
            put.offset = offset
        if self._located is not None:
            self._located.set_result(None)


class Put(msgspec.Struct, Generic[S], gc=False):
    """A state to be written. Versions tell which of two puts of a key came later."""

    key: str
    state: S | None
    version: int
    data: bytes | None = None
    """The state as it will be written; None again once a later put of the key is there: this one will hardly be written."""
    offset: int = -1
    """Of the record it came from; -1 while nobody knows it, and for journal entries."""


class Journal(Put[S], eq=False, gc=True):
    """A put that does not wait for the position."""

    durable: asyncio.Future[None] = msgspec.field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True)
class Batch(Generic[S]):
    """One commit: the position, and the last state of each key up to it."""

    position: int | None
    puts: dict[str, Put[S]]
    folded: dict[str, int]
    """How many puts of a key this batch stands for."""
    journals: list[Journal[S]]
    refused: dict[str, str] = field(default_factory=dict)
    """Key → why the changelog does not take its state. The one before stays."""


class _Pending(msgspec.Struct, Generic[S], gc=False):
    """The uncommitted puts of one key."""

    latest: Put[S]
    count: int = 0
    floor: int = -1
    """Puts up to this version are durable or overtaken; the older ones must not be written any more."""


@dataclass(slots=True)
class EffectsLog(Generic[S]):
    store: StateStore[S]
    position: int = 0
    """The watermark: everything before it is settled."""
    _entries: deque[Entry[S]] = field(default_factory=deque)
    _pending: dict[str, _Pending[S]] = field(default_factory=dict)
    _ready: list[Put[S]] = field(default_factory=list)
    _journals: list[Journal[S]] = field(default_factory=list)
    _ahead: list[Put[S]] = field(default_factory=list)
    """Not handed out, and not bound to the watermark."""
    _handed_out: int = 0
    _version: int = 0
    settled: int = 0
    """Records settled below the watermark and not yet handed out."""

    def begin(self, position: int) -> None:
        self.position = self._handed_out = position

    @property
    def in_flight(self) -> int:
        """Records past the watermark."""
        return len(self._entries)

    def open(self, offset: int) -> Entry[S]:
        """A record is about to be handled. Offsets come in ascending order, with gaps."""
        entry: Entry[S] = Entry(offset)
        self._entries.append(entry)
        return entry

    def place(self, entry: Entry[S], offset: int, timestamp_ms: int) -> bool:
        """Open what was begun before its offset was known. True when the watermark moved."""
        assert not self._entries or self._entries[-1].offset < offset, "a record takes its place before one that precedes it"
        entry.locate(offset, timestamp_ms)
        self._entries.append(entry)
        return entry.settled and self._pass()

    def get(self, key: str) -> S | None:
        pending = self._pending.get(key)
        if pending is not None and pending.latest.version > pending.floor:
            return pending.latest.state
        return self.store.get(key)

    def items(self) -> Iterator[tuple[str, S]]:
        keys = dict.fromkeys(self._pending)
        for key, state in self.store.items():
            if key not in keys:
                yield key, state
        for key in keys:
            pending = self.get(key)
            if pending is not None:
                yield key, pending

    def apply(self, entry: Entry[S], puts: Mapping[str, tuple[S | None, bytes | None]], *, ahead: bool = False) -> None:
        """The handler of this record has returned: its puts, each with what is to be written, are what later records see."""
        for key, (state, data) in puts.items():
            self._version += 1
            put = Put(key, state, self._version, data, entry.offset)
            entry.puts += (put,)
            pending = self._pending.get(key)
            if pending is None:
                pending = self._pending[key] = _Pending(put)
            elif pending.latest is not put:
                pending.latest.data = None
            pending.latest = put
            pending.count += 1
            if ahead:
                self._ahead.append(put)

    def settle(self, entry: Entry[S]) -> bool:
        """The record is through and its outputs are durable. True when the watermark moved."""
        entry.settled = True
        return entry.offset >= 0 and self._entries[0] is entry and self._pass()

    def _pass(self) -> bool:
        entries, before = self._entries, self.settled
        while entries and entries[0].settled:
            passed = entries.popleft()
            self.position = passed.offset + 1
            self.settled += 1
            if passed.puts:
                self._ready += passed.puts
        return self.settled > before

    def journal(self, key: str, state: S | None, data: bytes | None = None) -> Journal[S]:
        """`data`: the state as it is to be written, if that is known."""
        self._version += 1
        journal = Journal(key, state, self._version, data)
        self._journals.append(journal)
        return journal

    def take(self) -> Batch[S] | None:
        """All that may be committed now, or None."""
        if self.position == self._handed_out and not self._journals and not self._ahead:
            return None
        position = self.position if self.position != self._handed_out else None
        puts: dict[str, Put[S]] = {}
        folded: dict[str, int] = {}
        for put in self._ready:
            folded[put.key] = folded.get(put.key, 0) + 1
        for put in chain(self._ready, self._ahead):
            known = puts.get(put.key)
            if put.version > self._pending[put.key].floor and (known is None or put.version > known.version):
                puts[put.key] = put
        for journal in self._journals:
            known = puts.get(journal.key)
            if known is None or journal.version > known.version:
                puts[journal.key] = journal
        batch = Batch(position, puts, folded, self._journals)
        self._handed_out, self._ready, self._journals, self._ahead, self.settled = self.position, [], [], [], 0
        return batch

    def committed(self, batch: Batch[S], encoded: Mapping[str, bytes | None]) -> None:
        """The batch is durable; whoever waited for its journal entries goes on."""
        for key, put in batch.puts.items():
            if key not in batch.refused:
                self.store.commit(key, put.state, encoded[key])
            pending = self._pending.get(key)
            if pending is not None:
                pending.floor = max(pending.floor, put.version)
        for key, count in batch.folded.items():
            pending = self._pending[key]
            pending.count -= count
            if not pending.count:
                del self._pending[key]
        for journal in batch.journals:
            if not journal.durable.done():
                reason = batch.refused.get(journal.key)
                journal.durable.set_result(None) if reason is None else journal.durable.set_exception(StateTooLarge(reason))

    def abandon(self, error: Exception) -> None:
        """The partition is lost: nothing waiting will become durable here."""
        for journal in self._journals:
            if not journal.durable.done():
                journal.durable.set_exception(error)
        self._journals = []
