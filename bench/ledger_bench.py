"""How fast one ledger worker counts: a backlog on all its sources, with every table, rollup and transaction on.

    python bench/ledger_bench.py [--bootstrap HOST:PORT] [--events 60000] [--rows 40] [--profile]

Prints events/s, CPU per event, and how long a restart takes to restore. Nine tenths of the events are model calls, each with the
candidates and the price row that the router writes; the rest are tool calls and ended nodes. Starts a broker without --bootstrap.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import pstats
import resource
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.stage import broker
from bench.tables import Table
from connectors.kafka.admin import create_topics
from schemas import events, topics
from schemas.base import Event
from schemas.codec import encode
from schemas.ids import derive
from streams.ledger.app import LedgerSettings
from streams.ledger.ledger import Ledger
from streams.runtime import Outgoing, Publisher
from streams.wire import TOPIC_OF

PARTITIONS = 4
BATCH = 2_000
PRICE = {
    "model": "gpt-4o-mini",
    "source": "genai-prices",
    "input_mtok": "0.15",
    "output_mtok": "0.60",
    "cache_read_mtok": "0.075",
}
CANDIDATES = [
    {"model": f"model-{n}", "score": 0.1 * n, "left_out": None if n < 3 else "over the limit of $0.01 a call: estimated $0.0231"}
    for n in range(6)
]


def events_of(count: int, rows: int, mark: str, at_ms: int) -> Iterator[Event]:
    """Calls of `rows` different model × node combinations in the present hour, with a tool call and an ended node in between."""
    for number in range(count):
        shared = {
            "id": derive(mark, number),
            "time_ms": at_ms,
            "conversation_id": f"c-{number // 10 % 997}",
            "run_id": f"r-{number // 10}",
            "node_id": f"node_{number % 5}",
        }
        execution = {**shared, "execution_id": derive(mark, "x", number // 3), "attempt": 1, "workflow": "support@2.0.0"}
        match number % 20:
            case 18:
                yield events.ActionUsed(**execution, app="shopify", action="get_order", success=True, latency_ms=number % 900)
            case 19:
                yield events.NodeFinished(
                    **shared, cause_id="c", status=events.NodeStatus.EXECUTED, agent="support", duration_ms=number % 900
                )
            case _:
                yield events.ModelCalled(
                    **execution,
                    agent="support",
                    profile="balanced",
                    provider="openai",
                    model=f"model-{number % rows}",
                    success=True,
                    outcome="ok",
                    input_text_tokens=1200,
                    cached_text_tokens=800,
                    output_text_tokens=180,
                    cost_micro_usd=number % 1000,
                    latency_ms=number % 4000,
                    step="model-1",
                    reasoning="the best score of three that fit",
                    candidates=CANDIDATES,
                    price=PRICE,
                )


async def bench(bootstrap: str, count: int, rows: int, profile: cProfile.Profile | None) -> Table:
    mark = uuid.uuid4().hex[:8]
    names = [*topics.LEDGER_SOURCES, *topics.LEDGER_STATE, topics.COSTS_ROLLUPS, topics.DEAD_LETTERS]
    renamed = {name: f"{mark}.{name}" for name in names}
    wanted = {renamed[name]: topics.TOPICS[name] for name in names}
    await create_topics(
        bootstrap, partitions=PARTITIONS, topics={name: topics.Topic(name, (), topic.cleanup) for name, topic in wanted.items()}
    )
    table = Table("ledger", f"one ledger worker, {count:,} events, {PARTITIONS} partitions")
    async with Publisher(bootstrap) as publisher:
        batch: list[Outgoing] = []
        cost = 0
        for event in events_of(count, rows, mark, int(time.time() * 1000)):
            cost += getattr(event, "cost_micro_usd", 0)
            value, headers = encode(event)
            batch.append(Outgoing(renamed[TOPIC_OF[type(event)]], event.key.encode(), value, headers))
            if len(batch) == BATCH:
                await publisher.send(batch)
                batch.clear()
        await publisher.send(batch)
        settings = LedgerSettings(bootstrap, f"hil.ledger.{mark}", topics=renamed)
        began, used = time.perf_counter(), cpu_seconds()
        if profile is not None:
            profile.enable()
        async with running(Ledger(settings, publisher)) as ledger:
            ready = time.perf_counter()
            await counted(ledger, count)
            took, cpu = time.perf_counter() - ready, cpu_seconds() - used
        if profile is not None:
            profile.disable()
        table.add(part="count", seconds=took, per_s=count / took, cpu_us_per_event=cpu / count * 1e6, ready_s=ready - began)
        began = time.perf_counter()
        async with running(Ledger(settings, publisher)) as ledger:
            table.add(part="restart", ready_s=time.perf_counter() - began)
            found = sum(total.cost_micro_usd for total in ledger.totals(topics.LEDGER_CALLS))
            table.say(f"restored ${found / 1e6:,.6f} of ${cost / 1e6:,.6f}")
            assert found == cost, "the restored tables do not add up to what was sent"
    return table


async def counted(ledger: Ledger, count: int) -> None:
    """Returns once so many events are in the tables."""
    tables = [name for name in topics.LEDGER_STATE if name != topics.LEDGER_SEEN]
    while sum(total.count for name in tables for total in ledger.totals(name)) < count:  # noqa: ASYNC110  nobody is told of a change
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[Ledger]:
    task = asyncio.create_task(ledger.run())
    try:
        await ledger.ready()
        yield ledger
    finally:
        await ledger.stop()
        await task


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--profile", action="store_true", help="where the time goes, instead of a clean figure")
    given = parser.parse_args()
    profile = cProfile.Profile() if given.profile else None
    async with broker() if given.bootstrap is None else contextlib.nullcontext(given.bootstrap) as bootstrap:
        table = await bench(bootstrap, given.events, given.rows, profile)
    table.show()
    if profile is None:
        table.keep()
    else:
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    asyncio.run(main())
