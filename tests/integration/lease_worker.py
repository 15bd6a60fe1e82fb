"""A worker that spends of a shared limit, as a process of its own: `python -m tests.integration.lease_worker …`.

Says each cent on a line of its own before it goes on, so that what it spent is known however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from decimal import Decimal

from agents.errors import Retryable
from agents.router.budget import ComposedBudget, OverBudget
from agents.router.limits import Limit, daily
from connectors.postgres.leases import Leases
from connectors.postgres.pool import open_pool

AT_MS = 1_764_072_000_000
CENT = 10_000


def limit(usd: str = "1") -> Limit:
    return daily("workflow w", AT_MS, Decimal(usd), "cost_controls.daily_budget")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(arguments: argparse.Namespace) -> None:
    pool = await open_pool(arguments.url, max_size=2)
    leases = Leases(pool, f"worker-{os.getpid()}", seconds=arguments.lease_seconds, dry_seconds=0.02)
    renewing = asyncio.create_task(leases.run())
    budget = ComposedBudget([leases.purse(limit(arguments.usd))])
    say("ready")
    sys.stdin.readline()

    async def call() -> None:
        refusals = 0
        while refusals < arguments.refusals:
            try:
                reservation = await budget.reserve(arguments.cents * CENT)
            except OverBudget as over:
                if not over.held:
                    return
                refusals += 1
                await asyncio.sleep(0.01)
            except Retryable:
                await asyncio.sleep(0.01)
            else:
                refusals = 0
                await asyncio.sleep(arguments.call_seconds)
                say("spent")
                await reservation.settle(arguments.cents * CENT)
                if arguments.once:
                    return

    await asyncio.gather(*(call() for _ in range(arguments.calls)))
    renewing.cancel()
    await leases.close()
    await pool.close()
    say("closed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--usd", default="1")
    parser.add_argument("--cents", type=int, default=5)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--call-seconds", type=float, default=0.001)
    parser.add_argument("--lease-seconds", type=float, default=30.0)
    parser.add_argument(
        "--refusals", type=int, default=2**31, help="in a row, though the rest is only reserved, until a call gives up"
    )
    parser.add_argument("--once", action="store_true")
    asyncio.run(main(parser.parse_args()))
