"""Records in batches for a processor that keeps the positions itself, beside what it writes. Kafka learns of none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.runtime.broker.arrived import ARRIVED_BYTES
from streams.runtime.closing import came, end
from streams.runtime.member import Member
from streams.runtime.model import Record, RuntimeFailed, RuntimeSettings
from streams.runtime.reading import partition_counts, record_of

POLL_S = 0.5


class BatchProcessor(Protocol):
    """What it writes and the positions belong into one transaction of its own store, so that a batch counts once.

    A member that was frozen may hand over a batch after another has taken its partitions: the store must refuse a batch
    that does not begin where its positions stand.
    """

    async def positions(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """(topic, partition) → the next offset it wants; the beginning for those it does not name."""
        ...

    async def handle(self, records: Sequence[Record]) -> None:
        """In order per partition. If it raises, the runtime stops: nothing is skipped."""
        ...


@dataclass(frozen=True, slots=True)
class BatchSettings:
    bootstrap: str
    group: str
    topics: tuple[str, ...]
    client_id: str = "hil"
    max_records: int = 2000
    """In one batch, of all partitions together."""
    instance: str | None = None
    session_timeout_ms: int = 3_000
    heartbeat_interval_ms: int = 200
    arrived_bytes: int = ARRIVED_BYTES
    """Of records that have arrived and are not handled."""


class BatchRuntime:
    """`await run()` until `stop()`."""

    def __init__(self, settings: BatchSettings, processor: BatchProcessor) -> None:
        self._settings = RuntimeSettings(
            settings.bootstrap,
            settings.group,
            settings.topics,
            client_id=settings.client_id,
            instance=settings.instance,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            arrived_bytes=settings.arrived_bytes,
        )
        self._processor = processor
        self._max_records = settings.max_records
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._ready = asyncio.Event()
        self._busy = asyncio.Lock()
        self._open: set[TopicPartition] = set()
        self._opening: asyncio.Task[None] | None = None
        self._member: Member | None = None
        self._running = False

    async def run(self) -> None:
        """Returns after `stop`; raises what the processor raised, or RuntimeFailed."""
        self._running = True
        stopping = asyncio.ensure_future(self._stop.wait())
        working: asyncio.Task[None] | None = None
        try:
            await partition_counts(self._settings.bootstrap, self._settings.topics)
            self._member = Member(self._settings, assigned=self._assigned, revoked=self._revoked)
            working = asyncio.get_running_loop().create_task(self._work(self._member))
            await asyncio.wait((stopping, working), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            async with self._busy:  # a batch that was begun is finished
                await end({working})
        except KafkaError as error:
            raise RuntimeFailed(f"{self._settings.group}: the broker failed it for good: {error!r}") from error
        finally:
            await end({task for task in (stopping, working, self._opening) if task is not None})
            if self._member is not None:
                await self._member.stop()
            self._ended.set()

    async def stop(self) -> None:
        """Finish the batch at hand and leave; returns when `run` has ended."""
        self._stop.set()
        if self._running:
            await self._ended.wait()

    async def ready(self) -> None:
        """Returns once the partitions assigned to this member are positioned. Raises when `run` has ended instead."""
        if not await came(self._ready, unless=self._ended):
            raise RuntimeFailed(f"{self._settings.group} ended before it was ready: its run() says why")

    async def lag(self) -> int:
        """Records between what was fetched last and the ends of this member's partitions."""
        assert self._member is not None
        return await self._member.lag(self._open)

    async def _work(self, member: Member) -> None:
        await member.start()
        while not self._stop.is_set():
            fetched = await member.poll(POLL_S, self._max_records)
            if self._opening is not None and self._opening.done():
                self._opening.result()
            async with self._busy:
                records = [record_of(raw) for tp, raws in fetched.items() if tp in self._open for raw in raws]
                if records:
                    await self._processor.handle(records)
                for tp, raws in fetched.items():
                    member.handled(tp, raws[-1].offset + 1)
            await asyncio.sleep(0)

    async def _revoked(self, revoked: set[TopicPartition]) -> None:
        self._ready.clear()
        if self._opening is not None:
            await end({self._opening})
        async with self._busy:
            self._open -= revoked

    def _assigned(self, assigned: set[TopicPartition]) -> None:
        assert self._member is not None
        for tp in assigned:
            self._member.set_aside(tp)
        self._opening = asyncio.get_running_loop().create_task(self._position(self._member, assigned))

    async def _position(self, member: Member, assigned: set[TopicPartition]) -> None:
        positions: Mapping[Any, int] = await self._processor.positions(sorted((tp.topic, tp.partition) for tp in assigned))
        fresh = [tp for tp in sorted(assigned) if (tp.topic, tp.partition) not in positions]
        bounds = await member.bounds(fresh)
        for tp in sorted(assigned):
            member.seek(tp, bounds[tp][0] if tp in bounds else positions[tp.topic, tp.partition])
        self._open |= assigned
        for tp in assigned:
            member.resume(tp)
        await member.asked(assigned)
        self._ready.set()
