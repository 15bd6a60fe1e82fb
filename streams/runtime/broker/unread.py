"""Partitions that are wanted and not read. Each that stays so for a second is an error, said once and counted."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from aiokafka import TopicPartition

from streams.runtime.patience import STALLED_S

log = logging.getLogger(__name__)


class Unread:
    """Told what is asked for and what is answered; `look` says what has been left out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: set[TopicPartition] = set()
        """Not answered once since reading began."""
        self._since: dict[TopicPartition, float] = {}
        """The last answer, or when it began to be wanted after it was not."""
        self._refusals: dict[TopicPartition, str] = {}
        self._said: dict[TopicPartition, float] = {}
        """Reported, and since when they were not read."""
        self._asked = asyncio.Event()
        self.total = 0
        """How often a partition that was wanted was not read for a second."""

    @property
    def now(self) -> int:
        """How many there are at the moment."""
        return len(self._said)

    def begins(self, partition: TopicPartition) -> None:
        self._first.add(partition)
        self._since[partition] = self._clock()

    def ends(self, partition: TopicPartition) -> None:
        self._first.discard(partition)
        for known in (self._since, self._refusals, self._said):
            known.pop(partition, None)
        self._asked.set()

    def answered(self, partition: TopicPartition) -> None:
        """Its leader has answered, with records or without."""
        self._since[partition] = self._clock()
        if partition in self._first:
            self._first.discard(partition)
            self._asked.set()
        if self._refusals:
            self._refusals.pop(partition, None)
        if self._said and (since := self._said.pop(partition, None)) is not None:
            log.warning("%s-%d is read again, after %.1f s", *partition, self._clock() - since)

    def refused(self, partition: TopicPartition, why: str) -> None:
        self._refusals[partition] = why

    def stood_still(self, seconds: float) -> None:
        """This process itself has done nothing for so long: that is nobody's refusal to answer."""
        for partition in self._since:
            self._since[partition] += seconds

    async def none_of(self, partitions: Collection[TopicPartition]) -> None:
        """Returns once each of these has been answered for the first time, or is not read any more."""
        while not self._first.isdisjoint(partitions):
            self._asked.clear()
            await self._asked.wait()

    def look(self, wanted: Iterable[TopicPartition], why: Callable[[TopicPartition], str]) -> bool:
        """Say which of the partitions that are wanted now are not read. True while there is one."""
        now, unread, fresh = self._clock(), False, defaultdict[str, list[str]](list)
        wanted = set(wanted)
        for partition in self._since.keys() - wanted:
            self._since[partition] = now  # nothing of it is wanted
        for partition in sorted(wanted):
            since = self._since.get(partition, now)
            if now - since <= STALLED_S:
                continue
            unread = True
            if partition not in self._said:
                self._said[partition] = since
                self.total += 1
                refusal = self._refusals.get(partition)
                fresh[why(partition) + (f" ({refusal})" if refusal else "")].append(f"{partition.topic}-{partition.partition}")
        for reason, names in fresh.items():
            log.error("not read for %g s though wanted: %s: %s", STALLED_S, ", ".join(names), reason)
        return unread
