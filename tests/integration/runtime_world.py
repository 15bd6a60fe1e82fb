"""A small world for the runtime's tests: topics of one's own, processors that count, and runtimes that stop or crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.runtime import Outgoing, Publisher, Record, Runtime, RuntimeSettings, Step, tail
from streams.runtime.reading import Reader, partition_counts

PATIENCE_S = 30.0


class TextCodec:
    """State is a text."""

    def encode(self, state: str) -> bytes:
        return state.encode()

    def decode(self, data: bytes) -> str:
        return data.decode()


def dead_letter_to(topic: str) -> Callable[[Record, str, str, str, int], Outgoing]:
    def dead_letter(record: Record, processor: str, code: str, reason: str, attempts: int) -> Outgoing:
        origin = f"{record.topic}-{record.partition}-{record.offset}"
        return Outgoing(topic, origin.encode(), f"{code}|{reason}|{attempts}".encode())

    return dead_letter


@dataclass
class Appending:
    """State of a key: the values it has seen, joined. Publishes each new state."""

    output: str
    handled: list[tuple[int, str]] = field(default_factory=list)
    before: Callable[[Record, Step[str]], Awaitable[None]] | None = None
    opened_with: dict[int, dict[str, str]] = field(default_factory=dict)

    async def handle(self, record: Record, step: Step[str]) -> None:
        assert record.key is not None
        assert record.value is not None
        if self.before is not None:
            await self.before(record, step)
        key, value = record.key.decode(), record.value.decode()
        state = f"{step.get(key) or ''}{value}"
        step.put(key, state)
        step.publish(Outgoing(self.output, record.key, state.encode(), record.headers))
        self.handled.append((record.partition, value))

    def opened(self, partition: Any) -> None:
        self.opened_with[partition.partition] = dict(partition.items())


@dataclass
class World:
    bootstrap: str
    prefix: str
    publisher: Publisher
    admin: Any

    def topic(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    async def create(self, partitions: int = 1, names: Iterable[str] = ("in", "out", "state", "dead")) -> None:
        topics = [
            NewTopic(self.topic(name), partitions, 1, topic_configs={"cleanup.policy": "compact"} if name == "state" else {})
            for name in names
        ]
        await self.admin.create_topics(topics)

    def settings(self, **changes: Any) -> RuntimeSettings:
        source = self.topic("in")
        chosen = RuntimeSettings(self.bootstrap, self.topic("group"), (source,), {source: self.topic("state")})
        fast = replace(chosen, session_timeout_ms=6_000, heartbeat_interval_ms=300, retry_backoff_s=0.01, drain_deadline_s=5)
        return replace(fast, **changes)

    def runtime(self, processor: Any, **changes: Any) -> Runtime[str]:
        return Runtime(self.settings(**changes), processor, TextCodec(), dead_letter_to(self.topic("dead")))

    def appending(self, **given: Any) -> Appending:
        return Appending(self.topic("out"), **given)

    async def send(self, *values: str, key: str = "k", partition: int | None = None) -> None:
        await self.publisher.send([Outgoing(self.topic("in"), key.encode(), v.encode(), partition=partition) for v in values])

    async def values(self, name: str) -> list[str]:
        """All that is in a topic now, committed."""
        async with tail(self.bootstrap, [self.topic(name)], "earliest", until_end=True) as records:
            return [(record.value or b"").decode() async for record in records]

    async def states(self) -> dict[str, str]:
        """What a restore of the changelog would find."""
        found: dict[str, str] = {}
        async with tail(self.bootstrap, [self.topic("state")], "earliest", until_end=True) as records:
            async for record in records:
                assert record.key is not None
                if record.value is None:
                    found.pop(record.key.decode(), None)
                else:
                    found[record.key.decode()] = record.value.decode()
        return found

    async def committed(self) -> dict[int, int]:
        """The group's positions, asked by somebody outside it."""
        counts = await partition_counts(self.bootstrap, [self.topic("in")])
        asked = [partition_of(self, number) for number in range(counts[self.topic("in")])]
        offsets = await self.admin.list_consumer_group_offsets(self.topic("group"), partitions=asked)
        return {tp.partition: found.offset for tp, found in offsets.items() if found.offset >= 0}

    async def until_values(self, name: str, count: int) -> list[str]:
        """The topic's values once there are that many."""
        reader = Reader(self.bootstrap, [self.topic(name)])
        await reader.start()
        try:
            reader.seek(await reader.beginnings())
            values: list[str] = []
            async with asyncio.timeout(PATIENCE_S):
                while len(values) < count:
                    values += [(raw.value or b"").decode() for raw in await reader.read(100)]
            return values
        finally:
            await reader.stop()

    async def until_committed(self, positions: Mapping[int, int]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.committed() != positions:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def a_world(bootstrap: str, prefix: str) -> AsyncIterator[World]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with Publisher(bootstrap) as publisher:
            yield World(bootstrap, prefix, publisher, admin)
    finally:
        await admin.close()


@asynccontextmanager
async def at_work(runtime: Any) -> AsyncIterator[asyncio.Task[None]]:
    """A runtime that is ready; stopped in good order at the end, unless it has ended."""
    task = await begin(runtime)
    try:
        yield task
    finally:
        if not task.done():
            await runtime.stop()
            await task


async def begin(runtime: Any) -> asyncio.Task[None]:
    task = asyncio.create_task(runtime.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await runtime.ready()
    except BaseException:
        if task.done():
            await task
        await crash(task)
        raise
    return task


async def crash(task: asyncio.Task[None]) -> None:
    """End a runtime without a commit."""
    task.cancel()
    await asyncio.wait((task,))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something this process will see happen."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def partition_of(world: World, number: int) -> TopicPartition:
    return TopicPartition(world.topic("in"), number)
