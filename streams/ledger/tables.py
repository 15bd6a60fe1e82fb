"""Faust's tables, with two things changed: who writes their changelogs, and when a takeover begins.

Faust sends a changelog record without waiting for it and commits the source in between, so a crash could lose what was counted
(and a frozen worker that wakes up could overwrite it). Here a change is noted, and the ledger writes it in the transaction that
commits the source. Faust restores, assigns and keeps the tables as it always does.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

import faust
import msgspec
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.types import TP, EventT

from schemas.topics import LEDGER_SEEN
from streams.ledger.rows import NoRow, NoValue, key_of, page_of, total_of

log = logging.getLogger(__name__)

END = b"\xc0"
"""Key of the record that a takeover writes behind everything else: Faust recovers up to the last offset there is, and a changelog
that ends in a transaction's marker has none there. msgpack's nil, which no row has for a key."""

SHOWN = 5
"""Records of a batch that are named among those passed over."""
_encode = msgspec.msgpack.Encoder().encode
_decode_key = msgspec.msgpack.Decoder(tuple[Any, ...]).decode


class Takeover(Protocol):
    async def taken_over(self, assigned: set[int], added: set[int]) -> None:
        """Partition numbers that are ours now, and those that were not before. Nothing is restored until this returns."""
        ...


class LedgerTable(faust.Table):  # type: ignore[type-arg]
    """A table whose first key element is the partition the row belongs to. Named like its changelog."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        pages = self.name == LEDGER_SEEN
        self._read: Callable[[bytes], Any] = page_of if pages else total_of
        self._write: Callable[[Any], bytes] = bytes if pages else _encode
        self._changed: dict[int, set[Any]] = defaultdict(set)

    def on_key_set(self, key: Any, value: Any) -> None:
        """Instead of sending: the ledger takes it at the next commit."""
        self._changed[key[0]].add(key)

    def on_key_del(self, key: Any) -> None:
        self._changed[key[0]].add(key)

    def take_changed(self, partition: int) -> list[tuple[Any, bytes, Any, bytes | None]]:
        """(key, its bytes, value, its bytes) of every row changed since the last call; None for those deleted."""
        rows = self.data
        return [
            (key, _encode(key), value, None if value is None else self._write(value))
            for key in self._changed.pop(partition, ())
            for value in (rows.get(key),)
        ]

    def forget(self, partition: int) -> None:
        """Drop its rows from memory, as though they had never been read."""
        self._changed.pop(partition, None)
        for key in [key for key in self.data if key[0] == partition]:
            del self.data[key]

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Garbage is passed over, with a word: Faust would read the batch it is in again and again, and never be done."""
        good, spoilt, strange = [], [], 0
        for event in batch:
            message = event.message
            if message.key == END:
                continue
            try:
                key = self._row_key(message)
                if message.value is not None:
                    self._read(message.value)
            except (NoRow, NoValue) as fault:
                strange += 1
                if strange <= SHOWN:
                    log.error("%s-%d@%d is passed over: %s", message.topic, message.partition, message.offset, fault)
                if isinstance(fault, NoValue):
                    spoilt.append(key)
                continue
            good.append(event)
        if strange > SHOWN:
            log.error("%s: … and %d more records are no rows", self.name, strange - SHOWN)
        super().apply_changelog_batch(good)
        for key in spoilt:  # what it was before, or that it is not, is written behind the garbage with the next commit
            self._changed[key[0]].add(key)

    def _row_key(self, message: Any) -> Any:
        stamp_s = min(message.timestamp or 0.0, time.time())
        return key_of(self.name, message.key, partition=message.partition, timestamp_ms=round(stamp_s * 1000))

    def _to_key(self, k: Any) -> Any:
        return _decode_key(k)

    def _to_value(self, v: Any) -> Any:
        return None if v is None else self._read(v)


class LedgerTables(TableManager):
    """Lets the ledger shut the former owner out before anything is restored."""

    async def on_rebalance(self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0) -> None:
        ours, added = ({tp.partition for tp in tps if tp.topic in self._changelogs} for tps in (assigned, newly_assigned))
        await cast(Takeover, cast(Any, self.app).takeover).taken_over(ours, added)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)


class LedgerAssignor(PartitionAssignor):
    """Keeps partition n of every topic with one worker.

    Faust groups topics by `tuple(set of members)`, whose order may differ between equal sets, and so may give a changelog to
    another worker than its source.
    """

    @classmethod
    def _group_co_subscribed(cls, topics: set[str], subscriptions: Mapping[str, list[str]]) -> Iterable[set[str]]:
        groups: dict[frozenset[str], set[str]] = defaultdict(set)
        for topic in topics:
            groups[frozenset(member for member, wanted in subscriptions.items() if topic in wanted)].add(topic)
        return groups.values()
