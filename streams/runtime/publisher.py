"""The outbox of a process: one idempotent producer, `acks=all`, no linger. It never drops a record without saying so.

`producer.send` costs some 12 µs a record; filling batches ourselves and handing them over whole costs under 4. While one
request to a broker is on its way, everything published meanwhile gathers in the next one, so batches grow only under load.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable
from functools import lru_cache
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from streams.runtime.closing import close
from streams.runtime.model import Outgoing, RuntimeFailed, TooLarge
from streams.runtime.reading import unreachable

BATCH_BYTES = 256 * 1024
RECORD_OVERHEAD = 512


class Receipt(Protocol):
    """Told when its record is durable. Never told when the publisher fails: `Publisher.failed` says that."""

    def delivered(self, partition: int, offset: int) -> None: ...


class Publisher:
    """`publish` is synchronous and ordered per partition. Partition counts are read once: restart after changing them."""

    def __init__(
        self, bootstrap: str, *, client_id: str = "hil", max_message_bytes: int = 8 * 1024 * 1024, patience_s: float = 30.0
    ) -> None:
        self._producer: Any = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=max_message_bytes,
        )
        self._bootstrap = bootstrap
        self._max_bytes = max_message_bytes - RECORD_OVERHEAD
        self._patience_s = patience_s
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception that ended this publisher."""
        self._counts: dict[str, int] = {}
        self._unresolved: dict[str, list[tuple[Outgoing, Receipt | None]]] = {}
        self._lanes: dict[str, dict[int, _Lane]] = defaultdict(dict)
        self._rounds: dict[int, _Rounds] = {}
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
        for name, value in out.headers:
            size += len(name) + len(value)
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
            lane = self._lanes[out.topic][partition] = _Lane(self._producer, TopicPartition(out.topic, partition))
        lane.append(out, receipt)
        if not lane.waiting:
            lane.waiting = True
            leader = self._producer.client.cluster.leader_for_partition(lane.target)
            self._rounds_of(-1 if leader is None else leader).add(lane)

    async def send(self, outs: Iterable[Outgoing]) -> None:
        """Send records and wait until all of them are durable. Raises TooLarge before any of them is sent."""
        outs = list(outs)
        for out in outs:
            self.check(out)
        for out in outs:
            self.publish(out)
        await self.flush()

    async def send_one(self, out: Outgoing) -> tuple[int, int]:
        """Send one record and wait until it is durable. Returns its partition and offset."""
        self.check(out)
        receipt = _Awaited(asyncio.get_running_loop().create_future())
        self.publish(out, receipt)
        await asyncio.wait((receipt.at, self.failed), return_when=asyncio.FIRST_COMPLETED)
        if receipt.at.done():
            return receipt.at.result()
        receipt.at.cancel()
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
            async with asyncio.timeout(self._patience_s):
                partitions = await self._producer.partitions_for(topic)
        except (KafkaError, TimeoutError) as error:
            self._fail(RuntimeFailed(f"topic {topic} is not known to the broker at {self._bootstrap} ({error!r}): create it"))
            return
        self._counts[topic] = len(partitions)
        for out, receipt in self._unresolved.pop(topic):
            self.publish(out, receipt)

    def _rounds_of(self, leader: int) -> _Rounds:
        rounds = self._rounds.get(leader)
        if rounds is None:
            rounds = self._rounds[leader] = _Rounds(self._producer, self._patience_s)
            self._spawn(rounds.run())
        return rounds

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except TimeoutError:
            self._fail(RuntimeFailed(f"the broker at {self._bootstrap} has not acknowledged a record for {self._patience_s:g} s"))
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


class _Lane:
    """What waits for one partition, in order: full batches first, then the open one."""

    __slots__ = ("_batches", "_producer", "target", "waiting")

    def __init__(self, producer: Any, target: TopicPartition) -> None:
        self._producer = producer
        self.target = target
        self.waiting = False
        self._batches: deque[tuple[Any, list[Receipt | None]]] = deque()

    def append(self, out: Outgoing, receipt: Receipt | None) -> None:
        headers = list(out.headers)  # aiokafka takes no tuple
        if self._batches:
            builder, receipts = self._batches[-1]
            if builder.append(key=out.key, value=out.value, timestamp=out.timestamp_ms, headers=headers) is not None:
                receipts.append(receipt)
                return
        builder = self._producer.create_batch()
        builder.append(key=out.key, value=out.value, timestamp=out.timestamp_ms, headers=headers)  # the first always fits
        self._batches.append((builder, [receipt]))

    def take(self) -> tuple[Any, list[Receipt | None]]:
        """The oldest batch, closed: appending to one whose sequence number is given would corrupt it."""
        builder, receipts = self._batches.popleft()
        builder.close()
        return builder, receipts

    def __bool__(self) -> bool:
        return bool(self._batches)


class _Rounds:
    """The requests to one broker, one after the other; each carries one batch of every partition that has something."""

    def __init__(self, producer: Any, patience_s: float) -> None:
        self._producer = producer
        self._patience_s = patience_s
        self._lanes: list[_Lane] = []
        self._work = asyncio.Event()
        self._sending = False

    @property
    def busy(self) -> bool:
        return self._sending or bool(self._lanes)

    def add(self, lane: _Lane) -> None:
        self._lanes.append(lane)
        self._work.set()

    async def run(self) -> None:
        while True:
            if not self._lanes:
                self._work.clear()
                await self._work.wait()
            lanes, self._lanes, self._sending = self._lanes, [], True
            async with asyncio.timeout(self._patience_s):
                await self._round(lanes)
            self._sending = False

    async def _round(self, lanes: list[_Lane]) -> None:
        sent = []
        for lane in lanes:
            builder, receipts = lane.take()
            if lane:
                self._lanes.append(lane)
            else:
                lane.waiting = False
            topic, partition = lane.target
            future = await self._producer.send_batch(builder, topic, partition=partition)
            future.add_done_callback(_retrieve)
            sent.append((future, partition, receipts))
        for future, partition, receipts in sent:
            offset = (await future).offset
            for receipt in receipts:
                if receipt is not None:
                    receipt.delivered(partition, offset)
                offset += 1


class _Awaited:
    """The receipt of `send`."""

    __slots__ = ("at",)

    def __init__(self, at: asyncio.Future[tuple[int, int]]) -> None:
        self.at = at

    def delivered(self, partition: int, offset: int) -> None:
        if not self.at.done():
            self.at.set_result((partition, offset))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """A failed round is reported once; the others of its futures are not to be reported again as never retrieved."""
    if not future.cancelled():
        future.exception()


@lru_cache(maxsize=32_768)
def key_hash(key: bytes) -> int:
    """Kafka's murmur2 of a key, positive. Cached: it is pure Python, 5 µs, and one run asks some fifteen times for one key."""
    return int(murmur2(key)) & 0x7FFFFFFF
