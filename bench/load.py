"""Load from outside: a plain client that writes messages and reads responses. It knows keys and times, nothing of our schemas."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.stage import PARTITIONS
from schemas.topics import CUSTOMER_MESSAGES, CUSTOMER_RESPONSES

_names = itertools.count(1)
TICK_S = 0.003


@dataclass(frozen=True, slots=True)
class Route:
    """Where messages go in and responses come out."""

    messages: str = CUSTOMER_MESSAGES
    responses: str = CUSTOMER_RESPONSES


@dataclass(slots=True)
class Result:
    """What came back."""

    sent: int
    answered: int
    seconds: float
    """How long it was measured."""
    drained_s: float = 0.0
    """How long after the last message the last response came."""
    left: int = 0
    """Messages without a response when the last one was sent."""
    most: int = 0
    """The most that were open at once."""
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.answered / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


class Load:
    """One sender and one reader. Each message is a conversation of its own; a response is known by its key."""

    def __init__(
        self, producer: Any, consumer: Any, route: Route, *, workflow: str | None = None, text: str = "Where is it?"
    ) -> None:
        self._producer, self._consumer, self._route = producer, consumer, route
        self._workflow, self._text = workflow, text
        self._due: dict[bytes, float] = {}
        self._answered = 0
        self._latencies: list[float] = []
        self._prefix = f"b{time.time_ns():x}{next(_names)}"
        self._number = 0
        self._waiting = asyncio.Event()
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    @property
    def answered(self) -> int:
        return self._answered

    @property
    def in_flight(self) -> int:
        return len(self._due)

    async def closed(self, *, window: int, warm_s: float, seconds: float) -> Result:
        """Keep `window` runs in flight; count those that end in the `seconds` after the warm-up."""
        began = time.perf_counter()
        counted_from, counted = 0, False
        start = began
        while (now := time.perf_counter()) < began + warm_s + seconds:
            if not counted and now >= began + warm_s:
                counted_from, counted, start = self._answered, True, now
            if (missing := window - self.in_flight) > 0:
                await self._send(missing, [now] * missing)
            self._waiting.clear()
            try:
                await asyncio.wait_for(self._waiting.wait(), 0.05)
            except TimeoutError:
                continue
            await asyncio.sleep(0.002)
        result = Result(self._number, self._answered - counted_from, time.perf_counter() - start)
        await self.drained()
        return result

    async def open(self, *, rate: float, seconds: float, warm_s: float = 1.0, patience_s: float = 30.0) -> Result:
        """Send at a rate whatever comes back. Latency counts from when a message was due, so a late sender hides nothing."""
        most = 0
        for phase in (warm_s, seconds):
            self._latencies, answered, first = [], self._answered, self._number
            start, sent = time.perf_counter(), 0
            while (now := time.perf_counter()) < start + phase:
                due = int((now - start) * rate) + 1 - sent
                if due > 0:
                    await self._send(due, [start + (sent + number) / rate for number in range(due)])
                    sent += due
                most = max(most, self.in_flight)
                await asyncio.sleep(max(TICK_S, start + sent / rate - time.perf_counter()))
        ended, left = time.perf_counter(), self.in_flight
        await self.drained(patience_s)
        drained_s = time.perf_counter() - ended
        return Result(self._number - first, self._answered - answered, seconds, drained_s, left, most, self._latencies)

    async def drained(self, patience_s: float = 30.0) -> None:
        """Wait until everything sent is answered. Raises when it is not: a measurement with losses is none."""
        deadline = time.perf_counter() + patience_s
        while self._due:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{len(self._due)} of {self._number} messages have no response after {patience_s:g} s")
            await asyncio.sleep(0.005)

    async def _send(self, count: int, due: list[float]) -> None:
        by_partition: dict[int, list[tuple[bytes, float]]] = {}
        for at in due[:count]:
            self._number += 1
            key = b"%s-%d" % (self._prefix.encode(), self._number)
            by_partition.setdefault(self._number % PARTITIONS, []).append((key, at))
        for partition, messages in by_partition.items():
            builder = self._producer.create_batch()
            for key, at in messages:
                self._due[key] = at
                value = self._message(key)
                if builder.append(key=key, value=value, timestamp=None) is None:
                    builder.close()
                    await self._producer.send_batch(builder, self._route.messages, partition=partition)
                    builder = self._producer.create_batch()
                    builder.append(key=key, value=value, timestamp=None)
            builder.close()
            await self._producer.send_batch(builder, self._route.messages, partition=partition)

    def _message(self, key: bytes) -> bytes:
        body = {"text": self._text, "conversation_id": key.decode(), "message_id": "m1"}
        return json.dumps(body | ({"workflow": self._workflow} if self._workflow else {})).encode()

    async def _read(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=500)
            now = time.perf_counter()
            for records in fetched.values():
                for record in records:
                    due = self._due.pop(record.key, None)
                    if due is not None:
                        self._answered += 1
                        self._latencies.append((now - due) * 1e3)
            self._waiting.set()
            await asyncio.sleep(0)


@asynccontextmanager
async def load(
    bootstrap: str, route: Route = Route(), *, workflow: str | None = None, text: str = "Where is it?"
) -> AsyncIterator[Load]:
    producer: Any = AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=0, max_batch_size=256 * 1024, max_request_size=8 << 20
    )
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, fetch_max_wait_ms=50, fetch_max_bytes=64 << 20, max_partition_fetch_bytes=8 << 20
    )
    await producer.start()
    await consumer.start()
    try:
        partitions = [TopicPartition(route.responses, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)
        driver = Load(producer, consumer, route, workflow=workflow, text=text)
        try:
            yield driver
        finally:
            await driver.close()
    finally:
        await consumer.stop()
        await producer.stop()
