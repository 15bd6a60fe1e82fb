"""Cases a, b, c, f and h: how many runs, at which latency, beside the bare client, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import ceiling
from bench.load import Result, Route, load
from bench.stage import ONE_PROCESS, ONE_PROCESS_EACH, PARTITIONS, TWO_PROCESSES, Worker, engine, worker
from bench.tables import Table, best, lowest, ranges
from connectors.kafka.admin import connected

NODES = 3
WINDOW = 1000
BARE = Route(ceiling.MESSAGES, ceiling.RESPONSES)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    seconds: float
    rounds: int
    quick: bool


@dataclass(slots=True)
class Measured:
    runs_per_s: float
    cpu_us: float
    resident_mib: float


async def closed_loop(bootstrap: str, workers: Sequence[Worker], route: Route, seconds: float) -> Measured:
    """Completed runs a second with WINDOW in flight, and the workers' CPU for each."""
    async with load(bootstrap, route) as driver:
        await driver.closed(window=WINDOW, warm_s=2.5, seconds=0.01)
        before, cpu = driver.answered, sum(each.cpu_seconds() for each in workers)
        result = await driver.closed(window=WINDOW, warm_s=0.5, seconds=seconds)
        spent = sum(each.cpu_seconds() for each in workers) - cpu
        return Measured(result.rate, spent / (driver.answered - before) * 1e6, sum(each.resident_mib() for each in workers))


@contextlib.asynccontextmanager
async def bare(bootstrap: str, way: str) -> AsyncIterator[list[Worker]]:
    from aiokafka.admin import NewTopic

    async with connected(bootstrap) as admin:
        there = set(await admin.list_topics())
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in ceiling.TOPICS if name not in there])
    async with worker("ceiling", bootstrap, "--way", way) as process:
        yield [process]


async def throughput(bootstrap: str, effort: Effort) -> Table:
    """a and c: each round measures all of them one after the other, so that a ratio compares neighbours."""
    table = Table("a-c", f"completed runs of {NODES} nodes a second, closed loop, {WINDOW} in flight")
    contenders: dict[str, tuple[Any, Route]] = {
        "bare aiokafka, plain": (lambda: bare(bootstrap, "plain"), BARE),
        "engine, one process": (lambda: engine(bootstrap), Route()),
        "engine, one process each": (lambda: engine(bootstrap, ONE_PROCESS_EACH), Route()),
        "engine, conversations apart": (lambda: engine(bootstrap, TWO_PROCESSES), Route()),
    }
    if not effort.quick:
        contenders |= {
            "engine, one process, with model calls": (lambda: engine(bootstrap, arguments=("--calls",)), Route()),
            "bare aiokafka, packed": (lambda: bare(bootstrap, "packed"), BARE),
        }
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(effort.rounds):
        for name, (opened, route) in contenders.items():
            async with opened() as workers:
                found = await closed_loop(bootstrap, workers, route, effort.seconds)
            rounds[name].append(
                {"what": name, "runs/s": found.runs_per_s, "CPU µs a run": found.cpu_us, "resident MiB": found.resident_mib}
            )
    ceiling_rate = best(rounds["bare aiokafka, plain"], "runs/s")["runs/s"]
    for found_rows in rounds.values():
        row = best(found_rows, "runs/s")
        table.add(**row, **{"of plain": f"{row['runs/s'] / ceiling_rate:.0%}"})
    table.say("a run: 17 records and its states in the engine (20 with model calls), 8 and its states in the plain program")
    table.say(
        f"best of {effort.rounds} rounds of {effort.seconds:g} s, the contenders in turns; memory grows with conversations seen"
    )
    return table


async def bare_latency(bootstrap: str, rate: float, seconds: float) -> Result:
    """The plain program's message to response at a rate, open loop: what the client, the broker and the machine add alone."""
    async with bare(bootstrap, "plain"), load(bootstrap, BARE) as driver:
        return await driver.open(rate=rate, seconds=seconds, warm_s=2)


async def latency(bootstrap: str, effort: Effort) -> Table:
    """b: open loop at shares of what one process reached just before, in rounds, the bare client in each of them."""
    table = Table("b", f"message to response, {NODES} nodes, open loop, one process, milliseconds")
    shares, seconds = (0.05, 0.25, 0.50, 0.75), max(effort.seconds, 5)
    async with engine(bootstrap) as workers:
        most = await closed_loop(bootstrap, workers, Route(), effort.seconds)
        rounds: dict[str, list[dict[str, float]]] = {}
        async with load(bootstrap) as driver:
            for _ in range(effort.rounds):
                for share in shares:
                    found = await driver.open(rate=most.runs_per_s * share, seconds=seconds, warm_s=2)
                    rounds.setdefault(f"{share:.0%}", []).append({"messages/s": most.runs_per_s * share, **percentiles(found)})
                rate = most.runs_per_s * 0.25
                reference = await bare_latency(bootstrap, rate, seconds)
                rounds.setdefault("as 25%, bare aiokafka", []).append({"messages/s": rate, **percentiles(reference)})
    for name, found_rows in rounds.items():
        row = lowest(found_rows, "p50")
        table.add(load=name, **row, **{"p50 a node": row["p50"] / NODES}, **ranges(found_rows, ("p50", "p99")))
    table.say(f"closed loop just before: {most.runs_per_s:,.0f} runs/s. Latency counts from when a message was due to be sent")
    table.say(f"the best of {effort.rounds} rounds by its p50, and what all of them had")
    return table


async def sustained(bootstrap: str, effort: Effort) -> Table:
    """h: a thousand messages a second for a minute, all of them answered."""
    rate, seconds = (1000.0, 60.0) if not effort.quick else (300.0, 8.0)
    table = Table("h", f"{rate:,.0f} messages/s for {seconds:g} s with full processing")
    for what, groups in (("one process", ONE_PROCESS), ("one process each", ONE_PROCESS_EACH)):
        async with engine(bootstrap, groups) as workers, load(bootstrap) as driver:
            await driver.open(rate=rate / 4, seconds=2)
            cpu = sum(each.cpu_seconds() for each in workers)
            found = await driver.open(rate=rate, seconds=seconds, warm_s=0.1, patience_s=60)
            spent = sum(each.cpu_seconds() for each in workers) - cpu
            table.add(
                what=what,
                sent=found.sent,
                answered=found.answered,
                **percentiles(found),
                **{
                    "open at the end": found.left,
                    "lag gone after s": found.drained_s,
                    "CPU s per 1,000 runs": spent / found.sent * 1000,
                },
            )
    table.say("`open at the end`: messages without a response when the last one was sent")
    return table


async def cost(bootstrap: str, effort: Effort) -> Table:
    """f: CPU for 1,000 runs at a steady load, and memory for each conversation that was ever seen."""
    table = Table("f", "CPU and memory of one process, steady load")
    rate = 100.0 if effort.quick else 300.0
    async with engine(bootstrap) as workers, load(bootstrap) as driver:
        await driver.open(rate=rate, seconds=3)
        for _ in range(2 if effort.quick else 3):
            cpu, memory = workers[0].cpu_seconds(), workers[0].resident_mib()
            found = await driver.open(rate=rate, seconds=effort.seconds * 2, warm_s=0.1)
            spent, grown = workers[0].cpu_seconds() - cpu, workers[0].resident_mib() - memory
            table.add(
                **{"messages/s": rate},
                runs=found.sent,
                **{
                    "CPU s per 1,000 runs": spent / found.sent * 1000,
                    "resident MiB": workers[0].resident_mib(),
                    "KiB a conversation": grown * 1024 / found.sent,
                },
            )
        cpu = workers[0].cpu_seconds()
        await asyncio.sleep(effort.seconds)
        table.say(f"idle: {(workers[0].cpu_seconds() - cpu) / effort.seconds:.1%} of a core")
    return table


def percentiles(found: Result) -> dict[str, float]:
    return {"p50": found.percentile(0.5), "p99": found.percentile(0.99), "p99.9": found.percentile(0.999)}
