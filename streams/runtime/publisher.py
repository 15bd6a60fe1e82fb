"""The outbox of a process: one idempotent producer, `acks=all`, no linger. It never drops a record without saying so.

Filling batches ourselves and handing them over whole costs a third of aiokafka's `send`, record by record. While one
request to a broker is on its way, everything published meanwhile gathers in the next one, so batches grow only under load.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from streams.runtime.broker.fetching import Fetching
from streams.runtime.broker.producer import BatchProducer
from streams.runtime.closing import close
from streams.runtime.lanes import Lane, Receipt, Rounds
from streams.runtime.model import Outgoing, RuntimeFailed, TooLarge
from streams.runtime.murmur2 import murmur2
from streams.runtime.patience import BROKER_S
from streams.runtime.reading import unreachable

BATCH_BYTES = 256 * 1024
RECORD_OVERHEAD = 512
HEADER_OVERHEAD = 6
"""What the lengths of one header may take; those of a few are within RECORD_OVERHEAD."""
FEW_HEADERS = 16
"""As many as one of our own events has, and more. Together they are far from half of what a topic accepts."""


class Publisher:
    """`publish` is synchronous and ordered per partition. Partition counts are read once: restart after changing them."""

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str = "hil",
        max_message_bytes: int = 8 * 1024 * 1024,
        patience_s: float = BROKER_S,
        fetching: Fetching | None = None,
    ) -> None:
        """What `fetching` would ask for next, and is written here, is handed over as soon as it is durable."""
        self._producer = BatchProducer(
            bootstrap_servers=bootstrap, client_id=client_id, batch_bytes=BATCH_BYTES, patience_s=patience_s
        )
        self._bootstrap = bootstrap
        self._begin = fetching.begin if fetching is not None else None
        self._written = fetching.offer if fetching is not None else None
        self._max_bytes = max_message_bytes - RECORD_OVERHEAD
        self._patience_s = patience_s
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception that ended this publisher."""
        self._counts: dict[str, int] = {}
        self._unresolved: dict[str, list[tuple[Outgoing, Receipt | None]]] = {}
        self._lanes: dict[str, dict[int, Lane]] = defaultdict(dict)
        self._rounds: dict[int, Rounds] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keyless = 0

    async def start(self) -> None:
        try:
            await self._producer.start()
        except KafkaError as error:
            await self._producer.stop()
            raise unreachable(self._bootstrap, error) from error

    async def stop(self) -> None:
        """Deliver what was published, within the patience, and close."""
        try:
            if not self.failed.done():
                await self.flush()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await close(self._producer.stop())
            if not self.failed.done():
                self.failed.cancel()

    async def abort(self) -> None:
        """Close without waiting for anybody."""
        self._fail(RuntimeFailed("the publisher was closed before this record was sent"))
        await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.stop()

    def check(self, out: Outgoing) -> None:
        """Raises for a record no topic would accept."""
        if out.key is None and out.value is None:
            raise ValueError(f"a record for {out.topic} has neither key nor value: give it one of them")
        size = len(out.key or b"") + len(out.value or b"")
        if size < self._max_bytes // 2 and len(out.headers) <= FEW_HEADERS:
            return  # adding up the headers takes longer than all else here
        size += sum(map(len, chain.from_iterable(out.headers))) + HEADER_OVERHEAD * len(out.headers)
        if size > self._max_bytes:
            raise TooLarge(
                f"a record for {out.topic} has {size} bytes, more than the {self._max_bytes} a topic accepts: shorten it"
            )

    def publish(self, out: Outgoing, receipt: Receipt | None = None) -> None:
        """Send at once, without waiting. The record has passed `check`."""
        if self.failed.done():
            return  # whoever runs this publisher has been told; a receipt that never comes keeps the position where it is
        count = self._counts.get(out.topic)
        if count is None:
            self._resolve_first(out, receipt)
            return
        partition = out.partition
        if partition is None:
            if out.key is None:
                self._keyless += 1
                partition = self._keyless % count
            else:
                partition = key_hash(out.key) % count
        lane = self._lanes[out.topic].get(partition)
        if lane is None:
            if partition >= count:
                self._fail(RuntimeFailed(f"{out.topic} has {count} partitions: there is no partition {partition}"))
                return
            lane = self._lanes[out.topic][partition] = Lane(self._producer, TopicPartition(out.topic, partition))
        lane.append(out, receipt, begun=self._begin is not None and not lane.late and self._begin(lane.target, out))
        if not lane.waiting:
            lane.waiting = True
            self._line_up(lane)

    async def send(self, outs: Iterable[Outgoing]) -> None:
        """Send records and wait until all of them are durable. Raises TooLarge before any of them is sent."""
        await self._sent(list(outs))

    async def send_one(self, out: Outgoing) -> tuple[int, int]:
        """Send one record and wait until it is durable. Returns its partition and offset."""
        (place,) = await self._sent([out])
        return place

    async def _sent(self, outs: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """Waits for these records alone: a publisher that others use as well may never be idle."""
        for out in outs:
            self.check(out)
        receipts = [_Awaited(asyncio.get_running_loop().create_future()) for _ in outs]
        for out, receipt in zip(outs, receipts, strict=True):
            self.publish(out, receipt)
        places = asyncio.gather(*(receipt.at for receipt in receipts))
        await asyncio.wait((places, self.failed), return_when=asyncio.FIRST_COMPLETED)
        if places.done():
            return places.result()
        places.cancel()
        await asyncio.gather(places, return_exceptions=True)
        raise self.failure()

    async def flush(self) -> None:
        """Wait until everything published so far is durable."""
        while not self.failed.done() and (self._unresolved or any(rounds.busy for rounds in self._rounds.values())):
            await asyncio.wait((self.failed,), timeout=0.002)
        if self.failed.done():
            raise self.failure()

    def failure(self) -> BaseException:
        if self.failed.cancelled():
            return RuntimeFailed("the publisher is closed: nothing can be sent any more")
        return self.failed.exception() or RuntimeFailed("the publisher is closed")

    def _resolve_first(self, out: Outgoing, receipt: Receipt | None) -> None:
        waiting = self._unresolved.get(out.topic)
        if waiting is not None:
            waiting.append((out, receipt))
            return
        self._unresolved[out.topic] = [(out, receipt)]
        self._spawn(self._resolve(out.topic))

    async def _resolve(self, topic: str) -> None:
        try:
            partitions = await self._producer.partitions_for(topic)
        except UnknownTopicOrPartitionError as error:
            self._fail(RuntimeFailed(f"topic {topic} is not known to the broker at {self._bootstrap}: create it"), error)
            return
        except KafkaError as error:
            self._fail(RuntimeFailed(f"nobody says how many partitions topic {topic} has: {error}"), error)
            return
        self._counts[topic] = len(partitions)
        for out, receipt in self._unresolved.pop(topic):
            self.publish(out, receipt)

    def _line_up(self, lane: Lane) -> None:
        """For the next request to its broker."""
        leader = self._producer.leader(lane.target)
        rounds = self._rounds.get(leader)
        if rounds is None:
            rounds = self._rounds[leader] = Rounds(self._producer, leader, self._patience_s, self._line_up, self._written)
            self._spawn(rounds.run())
        rounds.add(lane)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RuntimeFailed as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  whatever ends the sending must reach those who wait for it
            self._fail(RuntimeFailed(f"sending failed for good: {type(error).__name__}: {error}"), error)

    def _fail(self, error: RuntimeFailed, cause: BaseException | None = None) -> None:
        if not self.failed.done():
            error.__cause__ = cause
            self.failed.set_exception(error)
            self.failed.exception()  # retrieved here once, so that a publisher nobody waits for ends without a warning

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Awaited:
    """The receipt of `send`."""

    __slots__ = ("at",)

    def __init__(self, at: asyncio.Future[tuple[int, int]]) -> None:
        self.at = at

    def delivered(self, partition: int, offset: int) -> None:
        if not self.at.done():
            self.at.set_result((partition, offset))


@lru_cache(maxsize=32_768)
def key_hash(key: bytes) -> int:
    """Kafka's murmur2 of a key, positive. Cached, because one run asks some fifteen times for its conversation's key."""
    return murmur2(key) & 0x7FFFFFFF
