"""Reads along the changelogs of partitions that others own, so that taking one over reads only what was missed.

Nothing here decides who owns what: a store taken from here is opened like any other (fence, position, states, fence held).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Set
from typing import Any, Generic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.runtime.broker.answers import may_pass
from streams.runtime.broker.client import use_patient_clients
from streams.runtime.closing import close
from streams.runtime.model import RuntimeSettings, S
from streams.runtime.patience import BROKER_S
from streams.runtime.store import StateStore
from streams.runtime.tolerant import tolerate_header_names

log = logging.getLogger(__name__)

POLL_MS = 500
FETCH_MAX_WAIT_MS = 500
"""A standby may be late by that much: what it has not read is read at the takeover."""
CHECK_S = 60.0
"""How often the ends are asked for, to know that nothing was missed."""
KEEP_S = 3600.0
"""How old the knowledge of a kept state may be: well below a changelog's delete.retention.ms, after which deletions vanish."""


class Standby(Generic[S]):
    """`follow` what others own, `take` what becomes ours; `run` does the reading. Partitions are named by their source."""

    def __init__(self, settings: RuntimeSettings, sources: Mapping[str, int], fresh: Callable[[], StateStore[S]]) -> None:
        """`sources`: source topic → number of partitions. `fresh` makes an empty store."""
        self._group = settings.group
        self._bound = settings.standby_bytes
        self._fresh = fresh
        self._source = {
            TopicPartition(settings.changelogs[topic], number): TopicPartition(topic, number)
            for topic, count in sources.items()
            for number in range(count)
        }
        self._changelog = {source: changelog for changelog, source in self._source.items()}
        self._stores: dict[TopicPartition, StateStore[S]] = {}
        """By changelog partition: what is followed."""
        self._bytes: dict[TopicPartition, int] = {}
        self._given_up: set[TopicPartition] = set()
        """Too large to be kept here."""
        self._started = False
        self._bootstrap, self._client_id = settings.bootstrap, settings.client_id
        self._consumer = self._fresh_consumer()

    def _fresh_consumer(self) -> Any:
        tolerate_header_names()
        use_patient_clients()
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # compaction and retention may take away the place where we stood
            isolation_level="read_committed",
            request_timeout_ms=int(BROKER_S * 1000),
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        )

    @property
    def sources(self) -> Set[TopicPartition]:
        """Every partition there is."""
        return self._changelog.keys()

    def __len__(self) -> int:
        """States held."""
        return sum(len(store) for store in self._stores.values())

    async def run(self) -> None:
        """Until cancelled. A broker that is away is waited for: whoever needs it more says so."""
        try:
            await self._connect()
            self._consumer.assign(list(self._source))
            for changelog in self._source:
                self._consumer.pause(changelog)
                self._consumer.seek(changelog, 0)
            self._started = True
            for changelog, store in self._stores.items():
                self._go_on(changelog, store)
            await asyncio.gather(self._read(), self._check())
        finally:
            self._started = False
            await close(self._consumer.stop())

    async def _connect(self) -> None:
        while True:
            try:
                await self._consumer.start()
                return
            except KafkaError as error:
                if not may_pass(type(error)):
                    raise
                log.warning("%s: the standby reads nothing yet: %s", self._group, error)
            await close(self._consumer.stop())
            self._consumer = self._fresh_consumer()

    def follow(self, source: TopicPartition, known: StateStore[S] | None) -> None:
        """Somebody else owns it. `known`: what was kept of it, while that is still good for something."""
        changelog = self._changelog[source]
        if changelog in self._stores or changelog in self._given_up:
            return
        now = asyncio.get_running_loop().time()
        if known is None or now - known.known_at > KEEP_S:
            known = self._fresh()
            known.known_at = now  # whatever it will know is read from now on
        self._stores[changelog] = known
        self._bytes[changelog] = known.weight()
        if self._started:
            self._go_on(changelog, known)

    def take(self, source: TopicPartition) -> StateStore[S] | None:
        """It becomes ours. Nothing more is read into the store; the rest is for the owner's restore."""
        changelog = self._changelog[source]
        self._given_up.discard(changelog)
        return self._let_go(changelog)

    def _let_go(self, changelog: TopicPartition) -> StateStore[S] | None:
        if self._started:
            self._consumer.pause(changelog)
        self._bytes.pop(changelog, None)
        return self._stores.pop(changelog, None)

    def _go_on(self, changelog: TopicPartition, store: StateStore[S]) -> None:
        self._consumer.seek(changelog, store.next_offset)
        self._consumer.resume(changelog)

    async def _read(self) -> None:
        while True:
            for changelog, raws in (await self._consumer.getmany(timeout_ms=POLL_MS)).items():
                store = self._stores.get(changelog)
                if store is None:
                    continue
                before = self._bytes[changelog]
                for raw in raws:
                    before += store.load(raw.key, raw.value)
                self._bytes[changelog] = before
                store.next_offset = raws[-1].offset + 1
            if sum(self._bytes.values()) > self._bound:
                self._give_up()
            await asyncio.sleep(0)

    def _give_up(self) -> None:
        largest = max(self._bytes, key=self._bytes.__getitem__)
        log.warning(
            "%s: the standby states have outgrown %d MiB: %s is not followed any more, taking it over will read all of it",
            self._group,
            self._bound >> 20,
            largest,
        )
        self._given_up.add(largest)
        self._let_go(largest)

    async def _check(self) -> None:
        """Note which stores are complete: only those that were lately may miss no deletion."""
        clock = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_S)
            asked_at = clock.time()
            followed = list(self._stores.items())
            try:
                ends = await self._consumer.end_offsets([changelog for changelog, _ in followed]) if followed else {}
            except KafkaError as error:
                log.warning("%s: nobody says where the changelogs end that are followed: %r", self._group, error)
                continue
            for changelog, store in followed:
                if self._stores.get(changelog) is store and await self._consumer.position(changelog) >= ends[changelog]:
                    store.known_at = asked_at
