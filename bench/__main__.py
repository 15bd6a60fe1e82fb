"""`make bench [ONLY=a,c] [QUICK=1]`: measures the engine on a broker of its own, prints tables, writes bench/results/*.json.

a runs/s · b latency · c the bare client, with a · d many in flight · e restore · f CPU and memory · g growth · h 1,000 messages/s
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable

from bench.growth import growth, in_flight, restore
from bench.stage import broker, publish_chains
from bench.tables import Table
from bench.throughput import Effort, cost, latency, sustained, throughput

CASES: dict[str, Callable[[str, Effort], Awaitable[Table]]] = {
    "a": throughput,
    "b": latency,
    "c": throughput,
    "d": in_flight,
    "e": restore,
    "f": cost,
    "g": growth,
    "h": sustained,
}
LENGTHS = (3, 5, 20, 80)


async def bench(names: list[str], effort: Effort) -> None:
    measured: set[object] = set()
    for name in names:
        case = CASES[name]
        if case in measured:  # a and c are one measurement
            continue
        measured.add(case)
        began = time.monotonic()
        async with broker() as bootstrap:  # a fresh one for each, so that no case pays for what another left behind
            await publish_chains(bootstrap, LENGTHS)
            table = await case(bootstrap, effort)
        table.say(f"took {time.monotonic() - began:.0f} s")
        table.show()
        table.keep()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="a,b,d,e,f,g,h", help="cases, with commas")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time: shows that it works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of a, b, c and d")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    names = [name.strip() for name in given.only.split(",") if name.strip()]
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"there is no case {', '.join(unknown)}: choose from {', '.join(CASES)}")
    asyncio.run(
        bench(names, Effort(seconds=1.5 if given.quick else 6.0, rounds=1 if given.quick else given.rounds, quick=given.quick))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
