"""One worker's counting: records in, rows of the tables changed. No Kafka and no waiting, so that what a commit takes is whole.

Never lets a record count twice, and never counts one whose predecessor is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

from schemas.codec.headers import text_of
from schemas.events import ActionUsed, ModelCalled, NodeFinished, RunFinished
from schemas.topics import DAY_MS, LEDGER_SOURCES, TOPICS
from streams.deadletters import dead_letter
from streams.ledger.fold import TABLE_OF, RowKey, Total, fold, row_of
from streams.ledger.rows import LARGEST, within
from streams.ledger.seen import Seen
from streams.runtime import Outgoing, Record, Undecodable
from streams.wire import incoming

NAME = "ledger"
COUNTED = frozenset(kind.TYPE for kind in (ModelCalled, ActionUsed, NodeFinished, RunFinished))
KNOWN: Mapping[str, tuple[type[Any], ...]] = {topic: TOPICS[topic].carries for topic in LEDGER_SOURCES}
PASSED = {topic: frozenset(kind.TYPE for kind in kinds) - COUNTED for topic, kinds in KNOWN.items()}
"""Source → the types on it that nobody counts."""
RETENTION_HOURS = 90 * 24
"""Of a row, measured by the newest event of its partition. As long as the sources themselves are kept."""

Source = tuple[str, int]
"""Topic and partition."""
Pages = MutableMapping[tuple[int, str, int], bytes]
"""(partition, topic, page number) → ids."""


class Partition:
    """What is known of one partition number of all sources."""

    def __init__(self, number: int, positions: Mapping[str, int], pages: Pages, rows: Iterable[tuple[str, RowKey]]) -> None:
        self.number = number
        self.due = dict(positions)
        """Source → the next offset to count."""
        self.gaps: set[str] = set()
        """Sources of which a later record has come than the one that is due."""
        self.moved: set[str] = set()
        """Sources whose position is ahead of what is committed."""
        self.letters: list[Outgoing] = []
        self.seen = {
            topic: Seen(
                (page, content) for (partition, name, page), content in pages.items() if (partition, name) == (number, topic)
            )
            for topic in LEDGER_SOURCES
        }
        self.hours: dict[int, list[tuple[str, RowKey]]] = defaultdict(list)
        """Hour → its rows, to find those that are too old."""
        for table, key in rows:
            self.hours[key[1]].append((table, key))
        self.newest = max(self.hours, default=0)


class Counter:
    def __init__(
        self,
        tables: Mapping[str, MutableMapping[RowKey, Total]],
        pages: Pages,
        *,
        clock_ms: Callable[[], int] = lambda: LARGEST,
    ) -> None:
        """`tables`: by the name of their changelog. `clock_ms`: what no event may be more than a day ahead of."""
        self._clock_ms = clock_ms
        self._tables = tables
        self._pages = pages
        self.open: dict[int, Partition] = {}

    def take_over(self, number: int, positions: Mapping[str, int]) -> None:
        """The tables hold the partition's rows as they were committed together with `positions` (source → next offset)."""
        rows = [(name, key) for name, table in self._tables.items() for key in table if key[0] == number]
        self.open[number] = Partition(number, positions, self._pages, rows)

    def let_go(self, number: int) -> None:
        """Nothing of it is counted any more."""
        self.open.pop(number, None)

    def count(self, record: Record) -> bool:
        """One record. False, once, when records between this and the last were not delivered: go back to the one that is due.

        Until it comes, nothing of its source is counted.
        """
        partition = self.open.get(record.partition)
        if partition is None:
            return True  # fetched before the partition was lost
        due = partition.due[record.topic]
        if record.offset < due:
            return True
        if record.offset > due:
            first = record.topic not in partition.gaps
            partition.gaps.add(record.topic)
            return not first
        partition.gaps.discard(record.topic)
        try:
            self._count(record, partition)
        except Undecodable as fault:
            partition.letters.append(dead_letter(record, NAME, fault.code, fault.reason, 1))
        except Exception as defect:  # noqa: BLE001  Faust acknowledges a record whose handler raised: nothing may leave here
            reason = f"counting it failed: {type(defect).__name__}: {defect}"
            partition.letters.append(dead_letter(record, NAME, "not_countable", reason, 1))
        partition.due[record.topic] = record.offset + 1
        partition.moved.add(record.topic)
        return True

    def _count(self, record: Record, partition: Partition) -> None:
        if text_of(record.headers, "ce_type") in PASSED[record.topic]:
            return
        event = incoming(record, *KNOWN[record.topic])
        key = row_of(event, record.partition)
        if key is None:
            return
        seen = partition.seen[record.topic]
        if seen.repeated(event.id, record.offset):
            return
        self._check_time(event.time_ms, record, partition)
        name = TABLE_OF[key[2]]
        table = self._tables[name]
        before = table.get(key)
        after = fold(before, event, record.offset)
        if after is before:
            return
        if not within(after):
            raise Undecodable(
                "number_out_of_range",
                "its row would be negative, or beyond 64 bits: nobody has spent that. Set its writer right.",
            )
        table[key] = after
        if before is None:
            self._note_row(partition, name, key)
        page, forgotten = seen.note(event.id, record.offset)
        self._pages[partition.number, record.topic, page] = seen.page(page)
        for old in forgotten:
            self._pages.pop((partition.number, record.topic, old), None)

    def _check_time(self, time_ms: int, record: Record, partition: Partition) -> None:
        now_ms = min(record.timestamp_ms, self._clock_ms())
        if time_ms > now_ms + DAY_MS:
            raise Undecodable(
                "time_ahead", f"the event is from {time_ms}, over a day after its record came ({now_ms}). Set its writer's clock."
            )
        if time_ms // 3_600_000 < partition.newest - RETENTION_HOURS:
            raise Undecodable(
                "too_old", f"its hour is more than {RETENTION_HOURS} hours before the newest one counted, and is closed for good."
            )

    def _note_row(self, partition: Partition, table: str, key: RowKey) -> None:
        partition.hours[key[1]].append((table, key))
        if key[1] > partition.newest:
            partition.newest = key[1]
            for hour in [hour for hour in partition.hours if hour < partition.newest - RETENTION_HOURS]:
                for name, old in partition.hours.pop(hour):
                    del self._tables[name][old]
