"""AIOKafkaProducer on the in-memory broker: idempotent or transactional, one request to the broker at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.structs import RecordMetadata

from tests.simulation.broker.broker import Broker
from tests.simulation.broker.cluster import group_place, transaction_place
from tests.simulation.broker.log import Sent
from tests.simulation.clients.asking import BACKOFF_S, RETRIED, ask, told
from tests.simulation.world import Process

BATCH_RECORDS = 40
"""How many records fit into a batch: few, so that there are many."""


class Batch:
    """aiokafka's BatchBuilder."""

    __slots__ = ("closed", "future", "now_ms", "records", "sequence")

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.records: list[Sent] = []
        self.closed = False
        self.sequence = -1
        self.future: asyncio.Future[Any] | None = None

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> object | None:
        if self.closed or len(self.records) >= BATCH_RECORDS:
            self.closed = True
            return None
        self.records.append((key, value, headers, self.now_ms if timestamp is None else timestamp))
        return self

    def close(self) -> None:
        self.closed = True


class Producer:
    """What streams.runtime uses of AIOKafkaProducer, and `send_and_wait` for tests."""

    def __init__(self, broker: Broker, process: Process, **config: Any) -> None:
        self._broker = broker
        self._process = process
        self._id: str | None = config.get("transactional_id")
        self._idempotent = bool(config.get("enable_idempotence")) or self._id is not None
        self._coordinator = transaction_place(self._id) if self._id is not None else None
        self._timeout_ms: int = config.get("transaction_timeout_ms", 60_000)
        self._backoff_s: float = config.get("retry_backoff_ms", BACKOFF_S * 1000) / 1000
        self._pid, self._epoch = -1, -1
        self._sequences: dict[TopicPartition, int] = {}
        self._waiting: dict[TopicPartition, deque[Batch]] = {}
        self._on_its_way = self._scheduled = False
        self._fatal: Exception | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._in_transaction = False
        self._added: set[TopicPartition] = set()
        self._group_added = False
        self._turn = 0
        self._closed = False
        self._nothing_yet: asyncio.Future[None] | None = None
        # what streams.runtime looks at beside the public methods
        self.client = SimpleNamespace(cluster=SimpleNamespace(leader_for_partition=lambda tp: 0))
        self._txn_manager = SimpleNamespace(wait_for_transaction_end=lambda: None)
        self._message_accumulator = SimpleNamespace(_batches={})
        self._sender = SimpleNamespace(sender_task=None)

    async def start(self) -> None:
        if self._idempotent:
            init = told(self._broker.transactions.init, self._id, self._timeout_ms)
            self._pid, self._epoch = await ask(
                self._broker, self._process, "init_pid", init, backoff_s=self._backoff_s, place=self._coordinator
            )

    async def stop(self) -> None:
        """Deliver what was handed over, unless that is impossible."""
        if self._closed:
            return
        self._closed = True
        await self._flushed()

    async def partitions_for(self, topic: str) -> set[int]:
        def known() -> set[int]:
            found = self._broker.topics.get(topic)
            if found is None:
                raise kafka_errors.UnknownTopicOrPartitionError
            return set(range(len(found.logs)))

        found: set[int] = await ask(self._broker, self._process, "metadata", told(known))
        return found

    def create_batch(self) -> Batch:
        return Batch(self._broker.now_ms())

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        if self._id is not None and not self._in_transaction:
            raise kafka_errors.IllegalOperation("Can't send messages while not in transaction")
        if self._closed:
            raise kafka_errors.ProducerClosed
        if self._fatal is not None:
            raise self._fatal
        tp = TopicPartition(topic, partition)
        batch.future = self._process.create_future()
        self._waiting.setdefault(tp, deque()).append(batch)
        self._send_soon()
        return batch.future

    async def send_and_wait(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, partition: int | None = None
    ) -> Any:
        batch = self.create_batch()
        batch.append(timestamp=None, key=key, value=value)
        return await (await self.send_batch(batch, topic, partition=partition or 0))

    # transactions

    async def begin_transaction(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        assert not self._in_transaction, "a transaction is open already"
        self._in_transaction = True
        self._added.clear()
        self._group_added = False

    async def send_offsets_to_transaction(self, offsets: Mapping[TopicPartition, int], group: str) -> None:
        if not self._in_transaction:
            raise kafka_errors.IllegalOperation("Not in the middle of a transaction")
        await self._transactional("add_offsets", self._broker.transactions.add_offsets, self._id, self._pid, self._epoch, group)
        self._group_added = True
        await self._transactional(
            "txn_offset_commit",
            self._broker.commit_offset_in_transaction,
            self._id,
            self._pid,
            self._epoch,
            group,
            dict(offsets),
            place=group_place(group),
        )

    async def commit_transaction(self) -> None:
        await self._end(commit=True)

    async def abort_transaction(self) -> None:
        await self._end(commit=False)

    async def _end(self, *, commit: bool) -> None:
        assert self._in_transaction, "no transaction is open"
        self._in_transaction = False
        await self._flushed()
        if self._fatal is not None:
            raise self._fatal
        if self._added or self._group_added:
            transactions = self._broker.transactions

            def end() -> None:
                transactions.end(self._id or "", self._pid, self._epoch, commit=commit)

            await self._transactional("end_txn", end)

    async def _transactional(self, kind: str, what: Any, *args: Any, place: TopicPartition | None = None) -> None:
        try:
            request, place = told(what, *args), place or self._coordinator
            await ask(self._broker, self._process, kind, request, backoff_s=self._backoff_s, place=place)
        except kafka_errors.InvalidProducerEpoch:
            self._die(kafka_errors.ProducerFenced())
        except kafka_errors.KafkaError as error:
            self._die(error)
        if self._fatal is not None:
            raise self._fatal

    def _die(self, error: Exception) -> None:
        """aiokafka's sender has ended: nothing is sent any more."""
        self._fatal = error
        for lane in self._waiting.values():
            for batch in lane:
                assert batch.future is not None
                if not batch.future.done():
                    batch.future.set_exception(error)
        self._waiting.clear()
        self._rest()

    # sending: one request at a time, with one batch of each partition that has something

    def _send_soon(self) -> None:
        if not self._on_its_way and not self._scheduled:
            self._scheduled = True
            self._process.call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        if self._on_its_way or self._fatal is not None:
            return
        lanes = [tp for tp, lane in self._waiting.items() if lane]
        if not lanes:
            self._rest()
            return
        if self._id is not None and not self._added.issuperset(lanes):
            self._add(lanes)
            return
        if self._broker.brokers is not None:  # a request goes to one broker; the others have theirs when it is answered
            leader = self._broker.brokers.leader
            self._turn += 1
            first = leader(lanes[self._turn % len(lanes)])
            lanes = [tp for tp in lanes if leader(tp) == first]
        taken: dict[TopicPartition, Batch] = {}
        for tp in lanes:
            batch = taken[tp] = self._waiting[tp][0]
            if batch.sequence < 0:
                batch.sequence = self._sequences.get(tp, 0)
                self._sequences[tp] = batch.sequence + len(batch.records)
        self._on_its_way = True
        request = [(tp, batch.sequence, batch.records) for tp, batch in taken.items()]
        produce = told(self._broker.produce, self._id, self._pid, self._epoch, request)
        asked = self._broker.ask(self._process, "produce", produce, lanes[0])
        asked.add_done_callback(lambda future: self._sent(future, taken))

    def _sent(self, future: asyncio.Future[Any], taken: Mapping[TopicPartition, Batch]) -> None:
        self._on_its_way = False
        error = future.exception()
        answers = dict.fromkeys(taken, error) if error is not None else future.result()
        again = False
        for tp, batch in taken.items():
            answer = answers[tp]
            if isinstance(answer, RETRIED):
                again = True
                continue
            lane = self._waiting.get(tp)
            if lane is not None:
                lane.popleft()
            assert batch.future is not None
            if batch.future.done():
                continue
            if isinstance(answer, Exception):
                refused = isinstance(answer, kafka_errors.InvalidProducerEpoch)
                batch.future.set_exception(kafka_errors.ProducerFenced() if refused else answer)
            else:
                batch.future.set_result(RecordMetadata(tp.topic, tp.partition, tp, answer, -1, 0, 0))
        if again:
            self._on_its_way = True  # nobody overtakes what is sent again
            self._process.call_later(self._backoff_s, self._again)
        else:
            self._send()

    def _again(self) -> None:
        self._on_its_way = False
        self._send()

    def _add(self, lanes: Sequence[TopicPartition]) -> None:
        self._on_its_way = True
        asked = self._broker.ask(
            self._process,
            "add_partitions",
            told(self._broker.transactions.add_partitions, self._id, self._pid, self._epoch, lanes),
            self._coordinator,
        )

        def added(future: asyncio.Future[Any]) -> None:
            self._on_its_way = False
            error = future.exception()
            if error is None:
                self._added.update(lanes)
                self._send()
            elif isinstance(error, RETRIED):
                self._on_its_way = True
                self._process.call_later(self._backoff_s, self._again)
            else:
                refused = isinstance(error, kafka_errors.InvalidProducerEpoch)
                self._die(kafka_errors.ProducerFenced() if refused else error)  # type: ignore[arg-type]

        asked.add_done_callback(added)

    async def _flushed(self) -> None:
        while self._fatal is None and (self._on_its_way or self._scheduled or any(self._waiting.values())):
            idle = self._process.create_future()
            self._idle.append(idle)
            await idle

    def _rest(self) -> None:
        idle, self._idle = self._idle, []
        for waiting in idle:
            if not waiting.done():
                waiting.set_result(None)
