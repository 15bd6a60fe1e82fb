"""`make simulate SEEDS=n [FROM=k] [JOBS=j]`, or `make simulate REPLAY=spec` for one that failed."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time

from tests.simulation.plan import parse
from tests.simulation.schedule import run
from tests.simulation.sweep import Summary, explain, sweep

SHARE = 50
"""Seeds handed to a process at once."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--replay", default="", help="the seed of a failure, with what was kept of it: 42:m=0:f=1,2")
    chosen = parser.parse_args()
    if chosen.replay:
        result = run(parse(chosen.replay), trace=True)
        say("\n".join(result.trace))
        say(result.failure or "it holds")
        return 1 if result.failure else 0
    return _many(chosen.first, chosen.seeds, chosen.jobs)


def _many(first: int, seeds: int, jobs: int) -> int:
    began = time.monotonic()
    total = Summary()
    shares = [(at, min(SHARE, first + seeds - at)) for at in range(first, first + seeds, SHARE)]
    told = began
    with multiprocessing.Pool(jobs) as pool:
        for summary in pool.imap_unordered(_share, shares):
            total.merge(summary)
            if time.monotonic() - told > 15:
                told = time.monotonic()
                say(f"{total.schedules:,} schedules, {total.schedules / (told - began):.0f}/s, {len(total.failures)} failures")
            if len(total.failures) >= 5:
                pool.terminate()
                break
    seconds = time.monotonic() - began
    say(
        f"{total.schedules:,} schedules in {seconds:.0f} s, {total.schedules / seconds:.0f}/s with {jobs} processes: "
        f"{total.answers:,} messages answered, {total.steps:,} steps, {total.virtual_s / 3600:,.1f} virtual hours, "
        f"{sum(total.faults.values()):,} faults in {total.with_faults:,} schedules, {len(total.failures)} failures"
    )
    for name, count in sorted(total.faults.items()):
        say(f"  {count:9,} {name}")
    for result in total.failures[:3]:
        say("\n" + explain(result))
    return 1 if total.failures else 0


def _share(share: tuple[int, int]) -> Summary:
    return sweep(range(share[0], share[0] + share[1]))


if __name__ == "__main__":
    sys.exit(main())
