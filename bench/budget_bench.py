"""How many calls a second can be reserved and settled under budgets, and whether the limit holds while several workers do so.

    python -m bench.budget_bench [--workers 2] [--seconds 4] [--url postgresql://…]

Starts a Postgres without --url; its commits reach the disk. Each worker is a process with 64 calls at a time. Prints a table and
writes bench/results/budgets.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from agents.router.budget import ComposedBudget, OverBudget
from agents.router.limits import EVERYTHING, Limit, daily, monthly
from agents.router.purse import LocalPurse, Purse
from bench.tables import Table
from connectors.embedded import Embedded
from connectors.postgres.leases import Leases
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.spending import used
from connectors.settings import Settings

AT_MS = 1_764_072_000_000
CENT = 10_000
AT_ONCE = 64
CALLS_BETWEEN_YIELDS = 8
"""A worker waits for models between its calls; here it only lets the others have their turn."""
CASES = ("one limit", "five limits", "tight")
"""`tight`: the limit is reached early, so that what is measured is mostly its end, where workers take the last cents."""


@asynccontextmanager
async def postgres(url: str | None) -> AsyncIterator[str]:
    if url is not None:
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="hil-bench-"))
    try:
        async with Embedded(Settings(data=folder, kafka_bootstrap="unused:1"), lambda words: None) as parts:
            yield parts.database_url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def limits(case: str, name: str, usd: int) -> list[Limit]:
    scope, amount = f"workflow {name}", Decimal(usd)
    day = daily(scope, AT_MS, amount, "cost_controls.daily_budget")
    if case != "five limits":
        return [day]
    return [
        day,
        monthly(scope, AT_MS, amount * 20, "cost_controls.monthly_budget"),
        daily(f"{EVERYTHING} {name}", AT_MS, amount * 2, "HIL_DAILY_BUDGET"),
        monthly(f"{EVERYTHING} {name}", AT_MS, amount * 40, "HIL_MONTHLY_BUDGET"),
    ]


async def work(url: str, case: str, name: str, usd: int, seconds: float) -> dict[str, Any]:
    """One worker's calls of five cents, three of four of which come to less than was reserved."""
    pool = await open_pool(url, max_size=2)
    leases = Leases(pool, f"bench-{os.getpid()}")
    shared: list[Purse] = [leases.purse(limit) for limit in limits(case, name, usd)]
    calls = refused = spent = statements = 0
    exchange = leases.exchange

    async def counted(*arguments: Any) -> None:
        nonlocal statements
        statements += 1
        await exchange(*arguments)

    leases.exchange = counted  # type: ignore[method-assign]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began, cpu = time.perf_counter(), time.process_time()
    until = began + seconds

    async def call(number: int) -> None:
        nonlocal calls, refused, spent
        conversation = Limit(f"conversation {number}", "conversation", 10**12, "cost_controls.max_cost_per_conversation")
        budget = ComposedBudget([LocalPurse(conversation, 10**12), *shared] if case == "five limits" else shared)
        while time.perf_counter() < until:
            for _ in range(CALLS_BETWEEN_YIELDS):
                try:
                    reservation = await budget.reserve(5 * CENT)
                except OverBudget:
                    refused += 1
                    continue
                actual = (2 + calls % 4) * CENT
                await reservation.settle(actual)
                calls += 1
                spent += actual
            await asyncio.sleep(0)

    await asyncio.gather(*(call(number) for number in range(AT_ONCE)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    await leases.close()
    await pool.close()
    return {"calls": calls, "refused": refused, "spent": spent, "statements": statements, "seconds": took, "cpu": cpu}


async def measure(url: str, pool: Pool, table: Table, case: str, workers: int, seconds: float) -> None:
    name = f"bench-{case.replace(' ', '-')}-{workers}-{time.time_ns()}"
    usd = 2_000 * workers if case == "tight" else 10_000_000
    arguments = ("--worker", json.dumps([url, case, name, usd, seconds]))
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.budget_bench", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        await process.stdout.readline()
    watching = asyncio.create_task(watch(pool, name))
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    watching.cancel()
    results = [json.loads(out) for out, _ in answers]
    total = {key: sum(result[key] for result in results) for key in ("calls", "refused", "spent", "statements", "cpu")}
    rows = [row for row in await used(pool) if name in row.scope]
    if any(row.spent + row.held > row.limit or row.spent != total["spent"] or row.held for row in rows):
        raise AssertionError(f"the books are wrong: {rows}, and {total['spent']} was spent")
    asked = total["calls"] + total["refused"]
    table.add(
        case=case,
        workers=workers,
        reservations_per_s=asked / max(result["seconds"] for result in results),
        cpu_us_each=total["cpu"] / asked * 1e6,
        calls=total["calls"],
        refused=total["refused"],
        statements=total["statements"],
        limit_usd=usd,
        spent_usd=total["spent"] / 1e6,
    )


async def watch(pool: Pool, name: str) -> None:
    """The limit holds at every moment, and not only at the end."""
    while True:
        for row in await used(pool):
            if name in row.scope and row.spent + row.held > row.limit:
                raise AssertionError(f"more than the limit: {row}")
        await asyncio.sleep(0.05)


async def bench(url: str | None, workers: int, seconds: float) -> None:
    table = Table("budgets", "reservations of five cents, settled at two to five")
    async with postgres(url) as address:
        pool = await open_pool(address, max_size=2)
        await migrate(pool)
        for case in CASES:
            for count in dict.fromkeys((1, workers)):
                await measure(address, pool, table, case, count, seconds)
        await pool.close()
    table.say(
        "spent + held ≤ limit was looked at every 50 ms; at the end what the workers spent is what Postgres says, to the cent"
    )
    table.show()
    table.keep()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.budget_bench", description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--url")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        sys.stdout.write(json.dumps(asyncio.run(work(*json.loads(given.worker)))))
    else:
        asyncio.run(bench(given.url, given.workers, given.seconds))


if __name__ == "__main__":
    main()
