"""One life of the Faust app. Rows, rollups, dead letters and positions of a partition are committed in one transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

from faust.types import TP

from schemas import topics
from schemas.codec import encode
from streams.ledger.app import PAGES, TABLES, LedgerSettings, build
from streams.ledger.counter import Counter
from streams.ledger.fold import Total, rollup
from streams.ledger.tables import END
from streams.runtime import Fenced, Outgoing, Publisher, Record, RuntimeFailed, Transactions
from streams.runtime.closing import close, end
from streams.runtime.reading import of_brokers
from streams.runtime.transaction import ends, first_from, positions

_log = logging.getLogger(__name__)


class Stalled(Exception):
    """Faust does not go on though there is work: a rebalance it has lost track of, say."""


class FaustStopped(RuntimeFailed):
    """Faust has ended by itself."""

    def __init__(self, words: str, *, of_brokers: bool) -> None:
        """`of_brokers`: because of what a broker did or did not do, so that it may work when begun anew."""
        super().__init__(words)
        self.of_brokers = of_brokers


class Session:
    """One life of the app, from joining the group to leaving it."""

    def __init__(self, settings: LedgerSettings, publisher: Publisher, ready: asyncio.Event) -> None:
        self._settings = settings
        self._publisher = publisher
        self._ready = ready
        self.was_ready = False
        self._app, self._tables = build(settings, self, self._count)
        self.counter = Counter(
            {name: self._tables[name] for name in TABLES}, self._tables[PAGES], clock_ms=lambda: time.time_ns() // 1_000_000
        )
        self._owners: dict[int, Transactions] = {}
        self._due_at: dict[int, dict[str, int]] = {}
        """Where to go on, of the partitions that are being restored."""
        self._committing: dict[int, asyncio.Lock] = {}
        self._going_back: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._app.on_partitions_revoked.connect(self._revoked)
        self._tables[PAGES].on_recover(self._restored)

    def totals(self, table: str) -> Iterable[Total]:
        return list(self._tables[table].values())

    async def run(self, stopping: asyncio.Event) -> None:
        tasks = {
            asyncio.ensure_future(work)
            for work in (self._failed, self._app_ends(), self._commit_regularly(), self._watch(), stopping.wait())
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._drain()
        finally:
            self._ready.clear()
            await end(tasks | self._going_back)
            await close(self._app.stop())
            await asyncio.gather(*(owner.close() for owner in self._owners.values()))

    async def taken_over(self, assigned: set[int], added: set[int]) -> None:
        """Faust's rebalance waits for this: shut former owners out, learn what they committed, and mark the end of the state."""
        self._ready.clear()
        for number in self._owners.keys() - assigned:
            await self._owners.pop(number).close()
            self._forget(number)
        for number in added:
            self._forget(number)
        fresh = {number: self._transactions(number) for number in sorted(assigned - self._owners.keys())}
        await asyncio.gather(*(owner.open() for owner in fresh.values()))
        self._owners |= fresh
        self._due_at = await self._due(assigned)
        await self._publisher.send(
            Outgoing(self._settings.named(changelog), END, b"", partition=number)
            for number in assigned
            for changelog in self._tables
        )

    def _forget(self, number: int) -> None:
        self.counter.let_go(number)
        for table in self._tables.values():
            table.forget(number)

    def _transactions(self, number: int) -> Transactions:
        settings = self._settings
        return Transactions(settings.bootstrap, f"{settings.group}-{number}", group=settings.group, client_id=settings.client_id)

    async def _due(self, numbers: set[int]) -> dict[int, dict[str, int]]:
        settings = self._settings
        sources = {(settings.named(name), number): name for name in topics.LEDGER_SOURCES for number in numbers}
        due: dict[int, dict[str, int]] = {number: {} for number in numbers}
        if sources:
            for source, position in (await positions(settings.bootstrap, settings.group, sources)).items():
                due[source[1]][sources[source]] = position
        return due

    async def _restored(self) -> None:
        """Faust has read the changelogs; it goes back to the committed positions next."""
        for number, due in self._due_at.items():
            self.counter.take_over(number, due)
        self.was_ready = True
        self._ready.set()

    def _count(self, record: Record) -> None:
        if not self.counter.count(record):
            task = asyncio.ensure_future(self._go_back(record.topic, record.partition))
            self._going_back.add(task)
            task.add_done_callback(self._gone_back)

    async def _go_back(self, source: str, number: int) -> None:
        """Faust has left records out: after a rebalance it empties its buffers, also of what it has fetched since."""
        partition, topic = self.counter.open[number], self._settings.named(source)
        first = await first_from(self._settings.bootstrap, (topic, number), partition.due[source])
        if self.counter.open.get(number) is partition:
            _log.info("%s-%d: going back to %d, which was not delivered", topic, number, first)
            partition.due[source] = first
            await self._app.consumer.seek_wait({TP(topic, number): first})

    def _gone_back(self, task: asyncio.Task[None]) -> None:
        self._going_back.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        """Faust has stopped the flow: whatever was counted is committed before others may have the partitions."""
        self._ready.clear()
        try:
            await self._drain()
        except (Fenced, RuntimeFailed) as failure:
            if not self._failed.done():
                self._failed.set_exception(failure)
        for number in list(self.counter.open):
            self.counter.let_go(number)

    async def _app_ends(self) -> None:
        await self._app.start()
        await self._app.wait_until_stopped()
        reason = self._app.crash_reason
        words = f"{self._settings.group}: Faust stopped: {reason!r}"
        raise FaustStopped(words, of_brokers=isinstance(reason, Fenced) or of_brokers(reason)) from reason

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_interval_s)
            await self._drain()

    async def _watch(self) -> None:
        """Raises Stalled when nothing has moved for too long, and not because there is nothing to do."""
        clock, patience_s = asyncio.get_running_loop().time, self._settings.patience_s
        before, since = self._progress(), clock()
        while True:
            await asyncio.sleep(patience_s / 6)
            now = self._progress()
            if now != before:
                before, since = now, clock()
            elif clock() - since >= patience_s and await self._behind():
                raise Stalled(f"{self._settings.group} has not moved for {patience_s:g} s and is behind")

    def _progress(self) -> tuple[Any, ...]:
        due = sum(position for partition in self.counter.open.values() for position in partition.due.values())
        return self._ready.is_set(), due, sorted(self._owners), sum(len(table) for table in self._tables.values())

    async def _behind(self) -> bool:
        if not self._ready.is_set():
            return True
        due = {
            (self._settings.named(topic), number): position
            for number, partition in self.counter.open.items()
            for topic, position in partition.due.items()
        }
        found = await ends(self._settings.bootstrap, due) if due else {}
        return any(found[source] > position for source, position in due.items())

    async def _drain(self) -> None:
        await asyncio.gather(*(self._commit(number) for number in list(self.counter.open)))

    async def _commit(self, number: int) -> None:
        """The one place where a position of the ledger moves: with the rows of everything before it, or not at all."""
        async with self._committing.setdefault(number, asyncio.Lock()):
            partition = self.counter.open.get(number)
            if partition is None or not partition.moved:
                return
            positions = {(self._settings.named(topic), number): partition.due[topic] for topic in partition.moved}
            partition.moved = set()
            letters, partition.letters = partition.letters, []
            changes = {name: table.take_changed(number) for name, table in self._tables.items()}
            records = [self._renamed(letter) for letter in letters]
            for name, rows in changes.items():
                changelog = self._settings.named(name)
                records += [Outgoing(changelog, raw, value, partition=number) for _, raw, _, value in rows]
            records += [self._rollup(key, total) for name in TABLES for key, _, total, _ in changes[name] if total is not None]
            await self._owners[number].commit(records, positions)

    def _rollup(self, key: Any, total: Any) -> Outgoing:
        event = rollup(key, total)
        value, headers = encode(event)
        return Outgoing(self._settings.named(topics.COSTS_ROLLUPS), event.key.encode(), value, headers)

    def _renamed(self, out: Outgoing) -> Outgoing:
        return Outgoing(self._settings.named(out.topic), out.key, out.value, out.headers)
