"""aiokafka's connection to one of several in-memory brokers. Client, fetching and producer above it are the real ones.

A broker answers the requests of a connection one after the other. What a broker is asked for here is metadata, a producer id, and
records to and fro in the bytes that `streams.runtime.broker.requests` makes.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.conn import CloseReason
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.util import wait_for

from streams.runtime.broker.requests import Fetched, FetchRequest, Produced, ProduceRequest
from tests.simulation.broker.broker import Broker
from tests.simulation.broker.cluster import Brokers, Node, Pending, resolve
from tests.simulation.broker.log import Sent
from tests.simulation.clients.consumer import FETCH_RECORDS
from tests.simulation.world import Process

HOST = "broker"
_FETCH_HEAD = struct.Struct(">iiiibiii")
_FETCH_PARTITION = struct.Struct(">iiqqi")
_PRODUCE_HEAD = struct.Struct(">hhii")
_PLACE = struct.Struct(">ii")
KINDS: dict[type, str] = {
    MetadataRequest: "metadata",
    InitProducerIdRequest: "init_pid",
    FetchRequest: "fetch",
    ProduceRequest: "produce",
}


def bootstrap_of(brokers: Brokers) -> str:
    """The addresses of all brokers; a broker's port is its number."""
    return ",".join(f"{HOST}:{number}" for number in brokers.nodes)


async def connect(host: str, port: int, *, request_timeout_ms: int = 40_000, on_close: Any = None, **_: Any) -> Connection:
    """aiokafka.conn.create_conn."""
    process = asyncio.get_running_loop()
    assert isinstance(process, Process)
    broker: Broker = process.world.broker
    brokers = broker.brokers
    assert brokers is not None
    node = brokers.nodes[port]
    greeted = process.create_future()
    connection = Connection(process, broker, brokers, node, request_timeout_ms / 1000, on_close)
    pending = Pending(process, lambda: broker.deliver(process, greeted, ConnectionRefusedError(111, "Connection refused")), None)
    greet: Callable[[], None] = lambda: brokers.answer(node, pending, lambda: broker.deliver(process, greeted, None))  # noqa: E731
    broker.soon(lambda: brokers.receive(node, "greet", pending, greet))
    try:
        await wait_for(greeted, request_timeout_ms / 1000)
    except BaseException:
        pending.done = True
        raise
    node.connections.append(connection.broken)
    return connection


class Connection:
    """What aiokafka.client uses of AIOKafkaConnection."""

    def __init__(
        self, process: Process, broker: Broker, brokers: Brokers, node: Node, timeout_s: float, on_close: Any = None
    ) -> None:
        self.host, self.port = HOST, node.id
        self._process, self._broker, self._brokers, self._node = process, broker, brokers, node
        self._timeout_s, self._on_close = timeout_s, on_close
        self._open = True
        self._owed: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        """Requests without an answer, oldest first: that one is being worked on."""

    def connected(self) -> bool:
        return self._open

    def broken(self) -> None:
        """The broker is gone: the other end hears of it a moment later."""
        self._broker.later(self._process, lambda: self.close(CloseReason.CONNECTION_BROKEN))

    def close(self, reason: Any = None, exc: Exception | None = None) -> asyncio.Future[None]:
        closed = self._process.create_future()
        closed.set_result(None)
        if self._open:
            self._open = False
            if self.broken in self._node.connections:
                self._node.connections.remove(self.broken)
            owed, self._owed = self._owed, deque()
            for request, future in owed:
                if KINDS[type(request)] == "fetch":
                    self._broker.asked_for(self._process, self._node.id, wanted(request)[1], pending=False)
                if not future.done():
                    error = kafka_errors.KafkaConnectionError(f"Connection at {self.host}:{self.port} closed")
                    error.__cause__ = exc
                    future.set_exception(error)
            if self._on_close is not None:
                self._on_close(self, reason)
        return closed

    def send(self, request: Any, expect_response: bool = True) -> Any:
        if not self._open:
            raise kafka_errors.KafkaConnectionError(f"No connection to broker at {self.host}:{self.port}")
        future = self._process.create_future()
        self._owed.append((request, future))
        if KINDS.get(type(request)) == "fetch":
            self._broker.asked_for(self._process, self._node.id, wanted(request)[1], pending=True)
        if len(self._owed) == 1:
            self._next()
        return wait_for(future, self._timeout_s)

    def _next(self) -> None:
        """Send the oldest request on its way."""
        request, future = self._owed[0]
        kind = KINDS[type(request)]
        fate = self._broker.fate(self._process, kind, answered=False)
        if fate == "lose":
            self.broken()
            return
        pending = Pending(self._process, self.broken, None)
        refused = fate == "refuse"
        run = lambda: self._run(request, pending, future, refused)  # noqa: E731
        self._broker.soon(lambda: self._brokers.receive(self._node, kind, pending, run), slow=fate == "slow")

    def _run(self, request: Any, pending: Pending, future: asyncio.Future[Any], refused: bool) -> None:
        if not self._process.alive and self._broker.world.random.random() < 0.5:
            return  # it was still in the buffers of the machine that died
        kind = KINDS[type(request)]

        def answer(value: Any) -> None:
            fate = self._broker.fate(self._process, kind, answered=True)
            if fate == "lose":
                self.broken()
                return
            deliver = lambda: self._broker.later(  # noqa: E731
                self._process, lambda: self._answered(request, future, value), slow=fate == "slow"
            )
            self._brokers.answer(self._node, pending, deliver)

        getattr(self, f"_{kind}")(request, answer, refused)

    def _answered(self, request: Any, future: asyncio.Future[Any], value: Any) -> None:
        if KINDS[type(request)] == "fetch":
            self._broker.asked_for(self._process, self._node.id, wanted(request)[1], pending=False)
        if not self._owed or self._owed[0][1] is not future:
            return  # closed meanwhile
        self._owed.popleft()
        resolve(future, value)
        if self._owed:
            self._next()

    # what the broker answers

    def _metadata(self, request: MetadataRequest, answer: Callable[[Any], None], refused: bool) -> None:
        topics = self._broker.topics
        names = sorted(topics if request._topics is None else request._topics)
        counts = [(name, len(topics[name].logs) if name in topics else 0) for name in names]
        brokers = [(number, HOST, number, None) for number in self._brokers.known_to(self._node)]
        answer(
            SimpleNamespace(
                API_VERSION=1,
                brokers=brokers,
                controller_id=brokers[0][0] if brokers else -1,
                topics=self._brokers.led(counts, self._node),
            )
        )

    def _init_pid(self, request: InitProducerIdRequest, answer: Callable[[Any], None], refused: bool) -> None:
        pid, epoch = self._broker.transactions.init(None)
        answer(SimpleNamespace(error_code=0, producer_id=pid, producer_epoch=epoch))

    def _produce(self, request: ProduceRequest, answer: Callable[[Any], None], refused: bool) -> None:
        answers = []
        for tp, data in batches(request):
            if refused:
                answers.append(Produced(tp, kafka_errors.TopicAuthorizationFailedError.errno, -1))
            elif not self._brokers.serves(self._node, tp):
                answers.append(Produced(tp, kafka_errors.NotLeaderForPartitionError.errno, -1))
            else:
                pid, epoch, sequence, records = opened(data)
                found = self._broker.produce(None, pid, epoch, [(tp, sequence, records)])[tp]
                error = found if isinstance(found, kafka_errors.BrokerResponseError) else None
                answers.append(
                    Produced(tp, error.errno if error is not None else 0, -1 if error is not None else cast("int", found))
                )
        answer(answers)

    def _fetch(self, request: FetchRequest, answer: Callable[[Any], None], refused: bool) -> None:
        wait_ms, places = wanted(request)
        limit = 1 + int(self._broker.world.random.random() * FETCH_RECORDS)
        said = False

        def attempt(last: bool = False) -> None:
            nonlocal said
            if said:
                return
            found = [self._read(tp, offset, limit) for tp, offset in places.items()]
            if last or any(each.error or each.records for each in found):
                said = True
                for tp in places:
                    waiting = self._broker.log(tp).waiting
                    if attempt in waiting:
                        waiting.remove(attempt)
                answer(found)
                return
            for tp in places:
                waiting = self._broker.log(tp).waiting
                if attempt not in waiting:
                    waiting.append(attempt)

        attempt()
        if not said:
            self._broker.world.at(wait_ms / 1000, attempt, True)

    def _read(self, tp: TopicPartition, offset: int, limit: int) -> Fetched:
        if not self._brokers.serves(self._node, tp):
            return Fetched(tp, kafka_errors.NotLeaderForPartitionError.errno, -1, [], b"")
        log = self._broker.log(tp)
        try:
            entries, following = log.read(offset, limit, committed=True)
        except kafka_errors.BrokerResponseError as error:
            return Fetched(tp, error.errno, -1, [], b"")
        return Fetched(tp, 0, log.end, [], cast("bytes", (entries, following) if following > offset else b""))


def wanted(request: FetchRequest) -> tuple[int, Mapping[TopicPartition, int]]:
    """(how long to wait in ms, partition → offset)."""
    data = request.encode()
    _, wait_ms, _, _, _, _, _, topics = _FETCH_HEAD.unpack_from(data)
    at, found = _FETCH_HEAD.size, {}
    for _ in range(topics):
        topic, count, at = _topic(data, at)
        for _ in range(count):
            partition, _, offset, _, _ = _FETCH_PARTITION.unpack_from(data, at)
            found[TopicPartition(topic, partition)] = offset
            at += _FETCH_PARTITION.size
    return wait_ms, found


def batches(request: ProduceRequest) -> list[tuple[TopicPartition, bytes]]:
    """The batches of a request, as they travel."""
    data = request.encode()
    _, _, _, topics = _PRODUCE_HEAD.unpack_from(data)
    at, found = _PRODUCE_HEAD.size, []
    for _ in range(topics):
        topic, count, at = _topic(data, at)
        for _ in range(count):
            partition, size = _PLACE.unpack_from(data, at)
            at += _PLACE.size
            found.append((TopicPartition(topic, partition), data[at : at + size]))
            at += size
    return found


def opened(data: bytes) -> tuple[int, int, int, list[Sent]]:
    """(producer id, epoch, sequence, records) of a batch."""
    batch = DefaultRecordBatch(bytearray(data))
    records = [(raw.key, raw.value, tuple(raw.headers), raw.timestamp) for raw in batch]
    return batch.producer_id, batch.producer_epoch, batch.base_sequence, records


def _topic(data: bytes, at: int) -> tuple[str, int, int]:
    size = int.from_bytes(data[at : at + 2], "big")
    end = at + 2 + size
    return data[at + 2 : end].decode(), int.from_bytes(data[end : end + 4], "big"), end + 4
