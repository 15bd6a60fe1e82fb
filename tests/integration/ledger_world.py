"""What the ledger's tests on a real broker share: its topics under names of the test's own, events, and an independent sum."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from connectors.kafka.admin import create_topics
from schemas import events, topics
from schemas.base import Event
from schemas.codec import decode, encode
from schemas.ids import derive
from streams.ledger.ledger import Ledger
from streams.runtime import Outgoing, Publisher
from streams.runtime.transaction import positions
from streams.wire import TOPIC_OF
from tests.support.ledger_worker import TOPICS, renamed, settings

NOON_MS = 1_795_435_200_000
PATIENCE_S = 120.0
"""A ledger that stands still begins anew after half a minute."""


def call(number: int, *, mark: str = "e", at_ms: int = NOON_MS, **fields: Any) -> events.ModelCalled:
    """A model call that costs `number` micro-dollars; every seventh failed."""
    said: dict[str, Any] = {
        "id": derive(mark, number),
        "time_ms": at_ms + number,
        "conversation_id": f"c-{number % 37}",
        "run_id": f"r-{number}",
        "node_id": f"n-{number % 3}",
        "execution_id": derive(mark, number, "x"),
        "attempt": 1,
        "workflow": "support@1.0.0",
        "agent": "a",
        "profile": "fast",
        "provider": "local",
        "model": f"m-{number % 4}",
        "success": number % 7 != 0,
        "outcome": "ok" if number % 7 else "http_500",
        "input_text_tokens": 10,
        "output_text_tokens": 1,
        "cost_micro_usd": number,
        "latency_ms": number % 2000,
    }
    return events.ModelCalled(**{**said, **fields})


def ended(number: int, *, mark: str = "n", **fields: Any) -> events.NodeFinished:
    """A node of agent `a` that ended; every fifth failed."""
    said: dict[str, Any] = {
        "id": derive(mark, number),
        "time_ms": NOON_MS + number,
        "conversation_id": f"c-{number % 37}",
        "cause_id": "c",
        "run_id": f"r-{number}",
        "node_id": "n",
        "status": "failed" if number % 5 == 0 else "executed",
        "agent": "a",
        "duration_ms": 3,
    }
    return events.NodeFinished(**{**said, **fields})


async def create(bootstrap: str, prefix: str, *, partitions: int = 3) -> None:
    wanted = [topics.Topic(renamed(prefix)[name], (), topics.TOPICS[name].cleanup) for name in TOPICS]
    await create_topics(bootstrap, partitions=partitions, topics={topic.name: topic for topic in wanted})


def record_of(prefix: str, event: Event) -> Outgoing:
    value, headers = encode(event)
    return Outgoing(renamed(prefix)[TOPIC_OF[type(event)]], event.key.encode(), value, headers)


async def send(bootstrap: str, prefix: str, said: Iterable[Event]) -> None:
    async with Publisher(bootstrap) as publisher:
        await publisher.send([record_of(prefix, event) for event in said])


@asynccontextmanager
async def counting(bootstrap: str, prefix: str, **changes: Any) -> AsyncIterator[Ledger]:
    """A ledger in this process; `changes` to its settings."""
    async with Publisher(bootstrap) as publisher:
        ledger = Ledger(replace(settings(bootstrap, prefix), **changes), publisher)
        running = asyncio.create_task(ledger.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ledger.ready()
            yield ledger
        finally:
            await ledger.stop()
            await running


async def caught_up(bootstrap: str, prefix: str) -> None:
    """Returns once every source is committed up to its present end."""
    names = [renamed(prefix)[name] for name in topics.LEDGER_SOURCES]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [
            TopicPartition(name, number)
            for name in names
            for number in consumer.partitions_for_topic(name) or await _known(consumer, name)
        ]
        ends = {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(partitions)).items()}
    finally:
        await consumer.stop()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await positions(bootstrap, f"{prefix}.ledger", ends)
            if all(found[source] >= end for source, end in ends.items()):
                return
            await asyncio.sleep(0.1)


async def _known(consumer: AIOKafkaConsumer, name: str) -> set[int]:
    await consumer._client.add_topic(name)
    while not (found := consumer.partitions_for_topic(name)):
        await asyncio.sleep(0.02)
    return found


async def everything(bootstrap: str, topic: str) -> list[Any]:
    """Every committed record of a topic, read by a plain client."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in await _known(consumer, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        records: list[Any] = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                for found in (await consumer.getmany(timeout_ms=100)).values():
                    records += found
        return records
    finally:
        await consumer.stop()


async def rollups(bootstrap: str, prefix: str) -> list[events.RollupChanged]:
    """The rows as a reader of the compacted topic ends up with them: the last word of each key."""
    last = {record.key: record for record in await everything(bootstrap, renamed(prefix)[topics.COSTS_ROLLUPS])}
    found = [decode(record.value, record.headers) for record in last.values()]
    return [event for event in found if isinstance(event, events.RollupChanged)]


def summed(said: Sequence[events.ModelCalled]) -> Mapping[str, int]:
    """The independent sum: each id once, whatever the ledger does."""
    sums: Counter[str] = Counter()
    for event in {event.id: event for event in reversed(said)}.values():
        sums["count"] += 1
        sums["errors"] += not event.success
        sums["cost"] += event.cost_micro_usd
        sums["input"] += event.input_text_tokens
        sums["output"] += event.output_text_tokens
        sums[f"cost of {event.model}"] += event.cost_micro_usd
        sums[f"cost of {event.node_id}"] += event.cost_micro_usd
    return dict(sums)


def counted(rows: Sequence[events.RollupChanged]) -> Mapping[str, int]:
    """The same figures from the ledger's rows."""
    sums: Counter[str] = Counter()
    for row in rows:
        if row.kind == "calls":
            sums["count"] += row.count
            sums["errors"] += row.errors
            sums["cost"] += row.cost_micro_usd
            sums["input"] += row.input_text_tokens
            sums["output"] += row.output_text_tokens
            sums[f"cost of {row.model}"] += row.cost_micro_usd
            sums[f"cost of {row.node_id}"] += row.cost_micro_usd
    return dict(sums)
