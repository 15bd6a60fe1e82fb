"""How much the runtime itself costs: a relay of three stateful stages with the record counts of a three-node run.

    python bench/runtime_bench.py --bootstrap HOST:PORT [--runs 4000] [--seconds 20]

Prints records and runs per second in a closed loop, and the latency of single runs on an idle pipeline. No reducer, no schemas:
what is left is consuming, state, publishing and committing.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
import uuid
from statistics import quantiles

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.runtime import Outgoing, Publisher, Record, Runtime, RuntimeSettings, Step, tail

PARTITIONS = 4
NODES = 3
AUDITS = 2
"""Audit and usage records beside each node, as in a real run."""
BODY = b"x" * 300
HEADERS = (("ce_id", uuid.uuid4().hex.encode()), ("ce_type", b"bench"), ("ce_source", b"bench"), ("content-type", b"avro/binary"))


class Codec:
    def encode(self, state: bytes) -> bytes:
        return state

    def decode(self, data: bytes) -> bytes:
        return data


class Decide:
    """Stands for conversations: an event in, state out, the next task or the response, and audit records."""

    def __init__(self, prefix: str) -> None:
        self._task, self._audit, self._out = f"{prefix}.tasks", f"{prefix}.audit", f"{prefix}.out"

    async def handle(self, record: Record, step: Step[bytes]) -> None:
        assert record.key is not None
        key = record.key.decode()
        done = int(step.get(key) or b"0")
        step.put(key, b"%d" % (done + 1))
        step.publish(Outgoing(self._task if done < NODES else self._out, record.key, BODY, HEADERS))
        for _ in range(AUDITS if done < NODES else 1):
            step.publish(Outgoing(self._audit, record.key, BODY, HEADERS))


class Act:
    """Stands for a node worker with an agent that costs nothing."""

    def __init__(self, prefix: str) -> None:
        self._events, self._audit = f"{prefix}.events", f"{prefix}.audit"

    async def handle(self, record: Record, step: Step[bytes]) -> None:
        assert record.key is not None
        step.put(record.key.decode(), b"finished")
        step.publish(Outgoing(self._audit, record.key, BODY, HEADERS))
        step.publish(Outgoing(self._events, record.key, BODY, HEADERS))


def no_dead_letter(record: Record, processor: str, code: str, reason: str, attempts: int) -> Outgoing:
    raise AssertionError(f"{processor}: {code}: {reason}")


async def bench(bootstrap: str, runs: int, seconds: float, singles: int) -> None:
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    names = [f"{prefix}.{name}" for name in ("events", "tasks", "audit", "out", "state", "journal")]
    await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    events, tasks, _, out, state, journal = names
    try:
        async with Publisher(bootstrap) as publisher:
            decide = RuntimeSettings(bootstrap, f"{prefix}-decide", (events,), {events: state})
            act = RuntimeSettings(bootstrap, f"{prefix}-act", (tasks,), {tasks: journal}, concurrency=32)
            runtimes = [
                Runtime(decide, Decide(prefix), Codec(), no_dead_letter, publisher=publisher),
                Runtime(act, Act(prefix), Codec(), no_dead_letter, publisher=publisher),
            ]
            running = [asyncio.create_task(runtime.run()) for runtime in runtimes]
            await asyncio.gather(*(runtime.ready() for runtime in runtimes))
            await closed_loop(bootstrap, publisher, events, out, runs, seconds)
            await single_runs(bootstrap, publisher, events, out, singles)
            for runtime in runtimes:
                await runtime.stop()
            await asyncio.gather(*running)
    finally:
        await admin.delete_topics(names)
        await admin.close()


async def closed_loop(bootstrap: str, publisher: Publisher, events: str, out: str, runs: int, seconds: float) -> None:
    cpu, began, finished = time.process_time(), time.perf_counter(), 0
    async with tail(bootstrap, [out], "latest") as responses:
        for number in range(runs):
            publisher.publish(Outgoing(events, b"%032d" % number, BODY, HEADERS))
        async for _ in responses:
            finished += 1
            if finished == runs or time.perf_counter() - began > seconds:
                break
    took = time.perf_counter() - began
    per_run = 1 + NODES * (1 + AUDITS) + 2 + NODES * 2
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"closed loop: {finished} runs in {took:.2f} s: {finished / took:.0f} runs/s, {finished * per_run / took:.0f} records/s,"
    )
    print(f"             {per_run} records a run, {(time.process_time() - cpu) / finished * 1e3:.3f} ms CPU a run, {memory} MiB")


async def single_runs(bootstrap: str, publisher: Publisher, events: str, out: str, count: int) -> None:
    async with tail(bootstrap, [out], "latest") as responses:
        latencies = []
        for number in range(count):
            began = time.perf_counter()
            await publisher.send_one(Outgoing(events, b"single%026d" % number, BODY, HEADERS))
            await anext(responses)
            latencies.append((time.perf_counter() - began) * 1e3)
    cuts = quantiles(latencies, n=100)
    print(f"single runs: {NODES} nodes, p50 {cuts[49]:.1f} ms, p90 {cuts[89]:.1f} ms, p99 {cuts[98]:.1f} ms")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--runs", type=int, default=4000)
    arguments.add_argument("--seconds", type=float, default=15)
    arguments.add_argument("--singles", type=int, default=100)
    given = arguments.parse_args()
    asyncio.run(bench(given.bootstrap, given.runs, given.seconds, given.singles))
