"""The fetch requests of a process: one per broker on its way, for all its members together, sent again when it is answered.

A request and its answer cost both sides more than what is in them; five members that asked for themselves took twice the CPU.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient

from streams.runtime.broker.arrived import ARRIVED_BYTES, Arrived
from streams.runtime.broker.producer import Batch
from streams.runtime.broker.requests import Fetched, FetchRequest
from streams.runtime.closing import close, end
from streams.runtime.model import Outgoing

log = logging.getLogger(__name__)

MAX_WAIT_MS = 100
"""How long a broker keeps a request without news; a partition that is resumed waits for it to come back."""
PARTITION_BYTES = 1 << 20
MAX_BYTES = 50 << 20
BACKOFF_S = 0.1
SUPPLIED_S = 0.005
"""How long a partition is not asked for after records for it were handed over in this process: what others write to it may wait
that long. The others are then asked for with as little patience."""
ALONE_S = 0.05
"""The same where nobody else has written lately."""
LATELY_S = 60.0


class Reading(Protocol):
    """Whose partitions are asked for."""

    def wanted(self, partition: TopicPartition) -> int | None:
        """The offset to ask for now, or None for nothing."""
        ...

    def take(self, fetched: Fetched, position: int) -> bool:
        """What a broker said of the partition when it was asked for `position`, which may not be the one any more.

        True when there were records that had not been offered. Raises KafkaError for what nobody can mend.
        """
        ...

    def offer(self, partition: TopicPartition, offset: int, batch: Batch) -> bool:
        """Records that this process wrote and the broker has. True when they are what comes next, and are taken in."""
        ...

    def begin(self, partition: TopicPartition, out: Outgoing) -> bool:
        """A record that this process is about to write, after nothing that is not begun. True when somebody works on it now."""
        ...

    def fail(self, error: Exception) -> None:
        """Nothing will be fetched any more."""
        ...


class Fetching:
    """Members read through it; whoever made it starts and stops it. A partition is read by one of them at a time."""

    def __init__(self, bootstrap: str, *, client_id: str = "hil", most_bytes: int = ARRIVED_BYTES) -> None:
        """`most_bytes`: of records that have arrived and are not done with, of all members together."""
        self.arrived = Arrived(most_bytes)
        self._client: Any = AIOKafkaClient(bootstrap_servers=bootstrap, client_id=client_id)
        self._readings: dict[TopicPartition, Reading] = {}
        """In the order in which they are asked for: a broker may fill an answer with the first of them alone."""
        self._changed: dict[int, asyncio.Event] = {}
        """By broker: there may be something to ask it for."""
        self._loops: dict[int, asyncio.Task[None]] = {}
        self._supplied: dict[TopicPartition, float] = {}
        """When a partition that is supplied from here has to be asked for again, on the loop's clock."""
        self._others: dict[TopicPartition, float] = {}
        """When records of somebody else were last seen in a partition."""

    async def start(self) -> None:
        """Raises KafkaError when no broker answers."""
        await self._client.bootstrap()

    async def stop(self) -> None:
        await end(set(self._loops.values()))
        await close(self._client.close())

    def read(self, partition: TopicPartition, reading: Reading) -> None:
        """Ask for what `reading` wants of it, from now on."""
        self._readings[partition] = reading
        self.wake(partition)

    def forget(self, partition: TopicPartition, reading: Reading) -> None:
        if self._readings.get(partition) is reading:
            del self._readings[partition]

    def offer(self, partition: TopicPartition, offset: int, batch: Batch) -> None:
        """This process has written records, and the broker has them. Whoever reads them here need not ask the broker.

        In a process that runs several processors most records never come back over the wire. A record between, written by
        somebody else, is noticed by its offset, and then the partition is asked for at once.
        """
        reading = self._readings.get(partition)
        if reading is None:
            return
        if reading.offer(partition, offset, batch):
            self._supply(partition)
        elif self._supplied.pop(partition, None) is not None:
            self.wake(partition)

    def _supply(self, partition: TopicPartition) -> None:
        now = asyncio.get_running_loop().time()
        alone = now - self._others.get(partition, -LATELY_S) > LATELY_S
        self._supplied[partition] = now + (ALONE_S if alone else SUPPLIED_S)

    def begin(self, partition: TopicPartition, out: Outgoing) -> bool:
        """See Reading.begin."""
        reading = self._readings.get(partition)
        if reading is None or not reading.begin(partition, out):
            return False
        self._supply(partition)
        return True

    def wake(self, partition: TopicPartition) -> None:
        """What is wanted of it has changed."""
        leader = self._leader(partition)
        if leader not in self._loops:
            self._changed[leader] = asyncio.Event()
            self._loops[leader] = asyncio.get_running_loop().create_task(self._ask(leader))
        self._changed[leader].set()

    def _leader(self, partition: TopicPartition) -> int:
        """-1 while nobody knows."""
        found: int | None = self._client.cluster.leader_for_partition(partition)
        return -1 if found is None else found

    async def _ask(self, broker: int) -> None:
        """Ask one broker on and on; -1 stands for those whose leader has to be found."""
        changed = self._changed[broker]
        try:
            while True:
                changed.clear()
                wanted, patience_s = self._wanted(broker)
                if not wanted:
                    asyncio.get_running_loop().call_later(patience_s, changed.set)
                    await changed.wait()
                elif broker < 0:
                    await self._look_again(wanted)
                else:
                    await self._once(broker, wanted, int(patience_s * 1000) + 1)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  whoever polls is told; nobody waits for this task
            for reading in set(self._readings.values()):
                reading.fail(error)

    def _wanted(self, broker: int) -> tuple[dict[TopicPartition, int], float]:
        """(partition → the offset to ask for, how long, in s, until others have to be asked for)."""
        found, patience_s = {}, MAX_WAIT_MS / 1000
        now = asyncio.get_running_loop().time()
        for partition, reading in self._readings.items():
            if self._leader(partition) != broker:
                continue
            if (again := self._supplied.get(partition, 0.0)) > now:
                patience_s = min(patience_s, again - now)
            elif (position := reading.wanted(partition)) is not None:
                found[partition] = position
        return found, patience_s

    async def _once(self, broker: int, wanted: dict[TopicPartition, int], max_wait_ms: int) -> None:
        most = min(MAX_BYTES, sum(min(PARTITION_BYTES, self.arrived.room(partition)) for partition in wanted))
        request = FetchRequest(wanted, max_wait_ms=max_wait_ms, max_bytes=most, partition_bytes=PARTITION_BYTES)
        try:
            answer: list[Fetched] = await self._client.send(broker, request)
        except kafka_errors.KafkaError as error:
            if not error.retriable:
                raise
            log.warning("fetching from broker %d failed, trying again: %r", broker, error)
            await self._look_again(wanted)
            return
        stale = [fetched.partition for fetched in answer if not self._taken(fetched, wanted[fetched.partition])]
        if stale:
            await self._look_again(stale)

    def _taken(self, fetched: Fetched, position: int) -> bool:
        """False when the partition has to be asked for elsewhere, or later."""
        partition = fetched.partition
        reading = self._readings.get(partition)
        if reading is None:
            return True  # given away meanwhile
        if fetched.error and kafka_errors.for_code(fetched.error).retriable:
            return False
        if fetched.error or fetched.records:
            del self._readings[partition]
            self._readings[partition] = reading  # last in line now
        try:
            if reading.take(fetched, position):
                self._others[partition] = asyncio.get_running_loop().time()
        except kafka_errors.KafkaError as error:
            reading.fail(error)
        return True

    async def _look_again(self, partitions: Iterable[TopicPartition]) -> None:
        """Leaders are unknown or may have changed: ask, and have partitions asked for where they are now."""
        await asyncio.sleep(BACKOFF_S if any(self._leader(partition) >= 0 for partition in partitions) else 0)
        for topic in {partition.topic for partition in partitions}:
            await self._client.add_topic(topic)
        await self._client.force_metadata_update()
        if any(self._leader(partition) < 0 for partition in partitions):
            await asyncio.sleep(BACKOFF_S)
        for partition in partitions:
            if partition in self._readings:
                self.wake(partition)
