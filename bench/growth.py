"""Cases d, e and g: many runs at once, many conversations to restore, long workflows and large messages."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from bench.load import Result, load
from bench.stage import PARTITIONS, chain, engine
from bench.tables import Table, lowest, ranges
from bench.throughput import Effort, bare_latency, percentiles
from connectors.kafka.admin import connected
from streams.conversations import Conversations
from streams.core.state import Conversation, ConversationCodec
from streams.deadletters import dead_letter
from streams.definitions import Definitions
from streams.runtime import Publisher, Runtime, RuntimeSettings

NODES = 3


async def in_flight(bootstrap: str, effort: Effort) -> Table:
    """d: agents that take two seconds; what is left after the nodes' own time was added by us."""
    seconds, runs = 2.0, 200 if effort.quick else 2000
    table = Table("d", f"{runs:,} runs in flight, agents that take {seconds:g} s, {NODES} nodes: latency added, milliseconds")
    rate, lasting = runs / (NODES * seconds), 8 if effort.quick else 18
    engines, bares = f"{rate:,.0f} messages/s", f"{rate:,.0f} messages/s, bare aiokafka"
    rounds: dict[str, list[dict[str, Any]]] = {"5 messages/s": [], engines: [], bares: []}
    arguments = ("--seconds", str(seconds), "--concurrency", "1000")
    async with engine(bootstrap, arguments=arguments) as workers, load(bootstrap) as driver:
        await driver.open(rate=5, seconds=1, warm_s=0.1)
        alone = await driver.open(rate=5, seconds=6 if effort.quick else 10, warm_s=0.1)
        rounds["5 messages/s"].append(_added(alone, NODES * seconds))
        for _ in range(effort.rounds):
            together = await driver.open(rate=rate, seconds=lasting, warm_s=NODES * seconds)
            rounds[engines].append(_added(together, NODES * seconds))
            rounds[bares].append(_added(await bare_latency(bootstrap, rate, lasting), 0))
        resident_mib = workers[0].resident_mib()
    for name, found_rows in rounds.items():
        row = lowest(found_rows, "p99 added")
        table.add(load=name, **row, **ranges(found_rows, ("p50 added", "p99 added")))
    table.say(
        "bare aiokafka: the same records without agents, all of its latency: what the client and the machine add by themselves"
    )
    table.say(f"the best of {effort.rounds} rounds by its p99, and what all of them had")
    table.say(f"HIL_NODE_CONCURRENCY=1000; {resident_mib:,.0f} MiB resident")
    return table


def _added(found: Result, seconds: float) -> dict[str, Any]:
    """A round's row: percentiles without the `seconds` that the agents took."""
    added = {f"{cut} added": value - seconds * 1e3 for cut, value in percentiles(found).items()}
    return {"runs": found.sent, "most in flight": found.most, **added}


async def restore(bootstrap: str, effort: Effort) -> Table:
    """e: from nothing to at work, with so many conversations in the changelog."""
    table = Table("e", "time from start to ready, conversations restored from the changelog")
    for count in (20_000,) if effort.quick else (100_000, 1_000_000):
        prefix = f"bench-restore-{uuid.uuid4().hex[:6]}"
        events, state = f"{prefix}.events", f"{prefix}.state"
        async with connected(bootstrap) as admin:
            compact = {"cleanup.policy": "compact"}
            await admin.create_topics([NewTopic(events, PARTITIONS, 1), NewTopic(state, PARTITIONS, 1, topic_configs=compact)])
        size = await _fill(bootstrap, state, count)
        for number in range(1 if effort.quick or count > 200_000 else 3):
            async with Publisher(bootstrap) as publisher:
                settings = RuntimeSettings(bootstrap, f"{prefix}.{number}", (events,), {events: state})
                processor = Conversations(Definitions(), clock_ms=lambda: time.time_ns() // 1_000_000)
                runtime: Runtime[Conversation] = Runtime(
                    settings, processor, ConversationCodec(), dead_letter, publisher=publisher
                )
                began, longest, last = time.perf_counter(), 0.0, time.perf_counter()
                running = asyncio.create_task(runtime.run())
                ready = asyncio.create_task(runtime.ready())
                while not ready.done():  # also how long the loop, and with it every heartbeat, was kept waiting
                    await asyncio.sleep(0.005)
                    now = time.perf_counter()
                    longest, last = max(longest, now - last), now
                took = time.perf_counter() - began
                await ready
                await runtime.stop()
                await running
            table.add(conversations=count, **{"bytes each": size, "seconds": took, "longest pause s": longest})
    table.say(f"{PARTITIONS} partitions, one process")
    return table


async def _fill(bootstrap: str, topic: str, count: int) -> int:
    """Idle conversations, each as small as it is kept. Returns the size of one."""
    value = ConversationCodec().encode(Conversation(epoch=0, ordinal=2, seen=bytes(8) * 20))
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0, max_batch_size=256 * 1024)
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            builder = producer.create_batch()
            for number in range(partition, count, PARTITIONS):
                key = b"conversation-%012d" % number
                if builder.append(key=key, value=value, timestamp=None) is None:
                    builder.close()
                    await producer.send_batch(builder, topic, partition=partition)
                    builder = producer.create_batch()
                    builder.append(key=key, value=value, timestamp=None)
            builder.close()
            await producer.send_batch(builder, topic, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()
    return len(value)


async def growth(bootstrap: str, effort: Effort) -> Table:
    """g: what a node costs in longer workflows, and what a byte costs in larger messages."""
    table = Table("g", "growth: CPU of one process by nodes and by message size, steady load")
    base: dict[str, float] = {}
    cases = [(nodes, 100) for nodes in (5, 20, 80)] + [(3, size) for size in (1_000, 64_000)]
    for nodes, size in cases:
        rate = min(100.0, 800 / nodes) * (0.3 if effort.quick else 1.0) * (0.3 if size > 10_000 else 1.0)
        async with engine(bootstrap) as workers, load(bootstrap, workflow=chain(nodes), text="x" * size) as driver:
            await driver.open(rate=rate, seconds=2)
            cpu = workers[0].cpu_seconds()
            found = await driver.open(rate=rate, seconds=effort.seconds * 2, warm_s=0.1, patience_s=120)
            spent = (workers[0].cpu_seconds() - cpu) / found.sent * 1e6
        kind = "nodes" if size == 100 else "bytes"
        unit, what = (nodes, "a node") if kind == "nodes" else (size, "a kB")
        each = spent / (nodes if kind == "nodes" else size / 1000)
        base.setdefault(kind, spent / unit)
        table.add(
            workflow=f"{nodes} nodes",
            **{
                "message bytes": size,
                "CPU µs a run": spent,
                f"CPU µs {what}": each,
                "against linear": f"{spent / unit / base[kind]:.2f}",
            },
            **percentiles(found),
        )
    table.say("`against linear`: 1.00 grows as the nodes or bytes do; above it grows faster")
    return table
