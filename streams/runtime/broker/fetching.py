"""The fetch requests of a process: one per broker on its way, for all its members together, sent again when it is answered.

A request and its answer cost both sides more than what is in them; five members that asked for themselves took twice the CPU.

Whom to ask is decided in one place, `_place`, at every change of the cluster's metadata, whoever caused it, for all partitions.
`Unread` watches that each one that is wanted is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime.broker.answers import may_pass
from streams.runtime.broker.arrived import ARRIVED_BYTES, Arrived
from streams.runtime.broker.client import PatientClient
from streams.runtime.broker.producer import Batch
from streams.runtime.broker.requests import Fetched, FetchRequest
from streams.runtime.broker.unread import Unread
from streams.runtime.closing import close, end
from streams.runtime.model import Outgoing, RuntimeFailed
from streams.runtime.patience import BACKOFF_S, BROKER_S, STALLED_S

log = logging.getLogger(__name__)

MAX_WAIT_MS = 100
"""How long a broker keeps a request without news; a partition that is resumed waits for it to come back."""
PARTITION_BYTES = 1 << 20
MAX_BYTES = 50 << 20
SUPPLIED_S = 0.005
"""How long a partition is not asked for after records for it were handed over in this process: what others write to it may wait
that long. The others are then asked for with as little patience."""
ALONE_S = 0.05
"""The same where nobody else has written lately."""
LATELY_S = 60.0
NEVER = -math.inf
WATCH_S = 0.25


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

    def __init__(
        self, bootstrap: str, *, client_id: str = "hil", patience_s: float = BROKER_S, most_bytes: int = ARRIVED_BYTES
    ) -> None:
        """`patience_s`: how long no broker at all may answer before all reading fails.

        `most_bytes`: of records that have arrived and are not done with, of all members together.
        """
        self.arrived = Arrived(most_bytes)
        self._bootstrap = bootstrap
        self._patience_s = patience_s
        self._client: Any = PatientClient(bootstrap_servers=bootstrap, client_id=client_id)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets RuntimeFailed when no broker has answered for longer than the patience."""
        self.unread = Unread(asyncio.get_running_loop().time)
        self._readings: dict[TopicPartition, Reading] = {}
        """In the order in which they are asked for: a broker may fill an answer with the first of them alone."""
        self._changed: dict[int, asyncio.Event] = {}
        """By broker: there may be something to ask it for."""
        self._loops: dict[int, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        """Finds leaders while one that is needed is unknown or has said that it is none."""
        self._watching: asyncio.Task[None] | None = None
        self._again: dict[TopicPartition, float] = {}
        """When a partition that its leader has refused may be asked for again, on the loop's clock."""
        self._supplied: dict[TopicPartition, float] = {}
        """When a partition that is supplied from here has to be asked for again, on the loop's clock."""
        self._others: dict[TopicPartition, float] = {}
        """When records of somebody else were last seen in a partition."""

    async def start(self) -> None:
        """Raises KafkaError when no broker answers."""
        await self._client.bootstrap()
        self._client.cluster.add_listener(self._place)
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        await end({task for task in (*self._loops.values(), self._looking, self._watching) if task is not None})
        await close(self._client.close())
        if not self.failed.done():
            self.failed.cancel()

    def read(self, partition: TopicPartition, reading: Reading) -> None:
        """Ask for what `reading` wants of it, from now on."""
        self._readings[partition] = reading
        self.unread.begins(partition)
        self.wake(partition)

    def forget(self, partition: TopicPartition, reading: Reading) -> None:
        if self._readings.get(partition) is reading:
            del self._readings[partition]
            self.unread.ends(partition)

    async def asked(self, partitions: Collection[TopicPartition]) -> None:
        """Returns once each of them has been read, if only to learn that there is nothing, or has been forgotten."""
        await self.unread.none_of(partitions)

    def offer(self, partition: TopicPartition, offset: int, batch: Batch) -> None:
        """This process has written records, and the broker has them. Whoever reads them here need not ask the broker.

        In a process that runs several processors most records never come back over the wire. A record between, written by
        somebody else, is noticed by its offset, and then the partition is asked for at once.
        """
        reading = self._readings.get(partition)
        if reading is None:
            return
        if reading.offer(partition, offset, batch):
            self.unread.answered(partition)  # it may be supplied so well from here that its leader is not asked for long
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
        if leader < 0:
            self._look()
            return
        if leader not in self._loops:
            self._changed[leader] = asyncio.Event()
            self._loops[leader] = asyncio.get_running_loop().create_task(self._ask(leader))
        self._changed[leader].set()

    def _place(self, *_: Any) -> None:
        """The metadata has changed: whoever leads now is asked. All partitions, because any leader may have moved."""
        for partition in self._readings:
            self.wake(partition)

    def _leader(self, partition: TopicPartition) -> int:
        """-1 while nobody knows."""
        found: int | None = self._client.cluster.leader_for_partition(partition)
        return -1 if found is None else found

    async def _ask(self, broker: int) -> None:
        """Ask one broker on and on, until it leads nothing that is read here."""
        changed = self._changed[broker]
        try:
            while True:
                changed.clear()
                wanted, patience_s = self._wanted(broker)
                if wanted:
                    await self._once(broker, wanted, int(patience_s * 1000) + 1)
                elif any(self._leader(partition) == broker for partition in self._readings):
                    asyncio.get_running_loop().call_later(patience_s, changed.set)
                    await changed.wait()
                else:
                    del self._loops[broker], self._changed[broker]  # `wake` begins it again
                    return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  whoever polls is told; nobody waits for this task
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        for reading in dict.fromkeys(self._readings.values()):
            reading.fail(error)

    def _wanted(self, broker: int) -> tuple[dict[TopicPartition, int], float]:
        """(partition → the offset to ask for, how long, in s, until others have to be asked for)."""
        found, patience_s = {}, MAX_WAIT_MS / 1000
        now = asyncio.get_running_loop().time()
        for partition, reading in self._readings.items():
            if self._leader(partition) != broker:
                continue
            again = self._supplied.get(partition, NEVER)
            if self._again:
                again = max(again, self._again.get(partition, NEVER))
            if again > now:
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
            self._refused([partition for partition in wanted if self._leader(partition) == broker], repr(error))
            return
        for fetched in answer:
            self._taken(broker, fetched, wanted[fetched.partition])

    def _taken(self, broker: int, fetched: Fetched, position: int) -> None:
        partition = fetched.partition
        reading = self._readings.get(partition)
        if reading is None:
            return  # given away meanwhile
        if fetched.error and may_pass(kafka_errors.for_code(fetched.error)):
            if self._leader(partition) == broker:
                self._refused((partition,), kafka_errors.for_code(fetched.error).__name__)
            return
        self.unread.answered(partition)
        if self._again:
            self._again.pop(partition, None)
        if fetched.error or fetched.records:
            del self._readings[partition]
            self._readings[partition] = reading  # last in line now
        try:
            if reading.take(fetched, position):
                self._others[partition] = asyncio.get_running_loop().time()
        except kafka_errors.KafkaError as error:
            reading.fail(error)

    def _refused(self, partitions: Collection[TopicPartition], why: str) -> None:
        """They are asked for again after a moment, of whoever leads then."""
        again_at = asyncio.get_running_loop().time() + BACKOFF_S
        for partition in partitions:
            self._again[partition] = again_at
            self.unread.refused(partition, why)
        self._look()

    # Leaders are unknown or may have changed

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_again())

    async def _look_again(self) -> None:
        """Ask where leaders are, at once and then once in a while, until every partition that is read here has one it may ask.

        The answer places them (`_place`), as any other does.
        """
        while True:
            for topic in dict.fromkeys(partition.topic for partition in self._readings):
                self._client.add_topic(topic)
            await self._client.force_metadata_update()
            await asyncio.sleep(BACKOFF_S)
            self._place_refused()
            if not self._again and all(self._leader(partition) >= 0 for partition in self._readings):
                return

    def _place_refused(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [partition for partition, again_at in self._again.items() if again_at <= now]
        for partition in due:
            del self._again[partition]
            if partition in self._readings:
                self.wake(partition)

    # What must not go unseen

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop()
        while True:
            due = clock.time() + WATCH_S
            await asyncio.sleep(WATCH_S)
            now = clock.time()
            self.unread.stood_still(now - due)
            silent_s = now - self._client.heard_at
            if silent_s > STALLED_S:
                self._client.force_metadata_update()  # whoever reads nothing at the moment asks whether anybody is there
            if silent_s > self._patience_s and not self.failed.done():
                error = RuntimeFailed(
                    f"no broker of {self._bootstrap} has answered for {silent_s:.0f} s: {self._client.silence()}"
                )
                self.failed.set_exception(error)
                self.failed.exception()  # retrieved, so that nobody has to wait for it
                self._fail(error)
            wanted = [
                partition
                for partition, reading in self._readings.items()
                if self._supplied.get(partition, NEVER) <= now and reading.wanted(partition) is not None
            ]
            if self.unread.look(wanted, self._why_unread):
                for partition in wanted:
                    self.wake(partition)
                self._look()

    def _why_unread(self, partition: TopicPartition) -> str:
        leader = self._leader(partition)
        return "no leader is known" if leader < 0 else f"broker {leader} leads it: {self._client.state_of(leader)}"
