"""`make simulate SEEDS=n [FROM=k] [JOBS=j] [SUMMARY=file]`, or `make simulate REPLAY=spec` for one that failed.

With a summary file, the same command again goes on where the last one ended, however it ended.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import signal
import sys
import time
from multiprocessing.pool import Pool
from pathlib import Path

from tests.simulation.plan import parse
from tests.simulation.schedule import run
from tests.simulation.summary import OfAnotherRun, Summary, Sweep
from tests.simulation.sweep import explain, sweep

SHARE = 100
"""Seeds handed to a process at once."""
TELL_S = 15.0
ENOUGH_FAILURES = 5


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--summary", type=Path, help="a JSON file: written as the run goes on, and gone on with when it exists")
    parser.add_argument("--replay", default="", help="the seed of a failure, with what was kept of it: 42:m=0:f=1,2")
    chosen = parser.parse_args()
    if chosen.replay:
        result = run(parse(chosen.replay), trace=True)
        say("\n".join(result.trace))
        say(result.failure or "it holds")
        return 1 if result.failure else 0
    try:
        done = Sweep.at(chosen.summary, chosen.first, chosen.jobs)
    except OfAnotherRun as error:
        say(str(error))
        return 2
    return _many(done, chosen.first + chosen.seeds, chosen.summary)


def _many(done: Sweep, end: int, path: Path | None) -> int:
    """Run the seeds up to `end` that are not done yet. Interrupted, it says what it has come to so far."""
    if done.following > done.first:
        say(f"{path}: {done.following - done.first:,} schedules are done, going on with seed {done.following}")
    interrupted = False
    if done.following < end and len(done.summary.failures) < ENOUGH_FAILURES:
        with multiprocessing.Pool(done.jobs, _prepare) as pool:
            try:
                _sweep(pool, done, end, path)
            except KeyboardInterrupt:
                interrupted = True
            pool.terminate()
    if path is not None:
        done.write(path)
    summary, seconds = done.summary, max(done.seconds, 1e-9)
    say(
        f"seeds {done.first} to {done.following - 1}: {summary.schedules:,} schedules in {seconds:.0f} s, "
        f"{summary.schedules / seconds:.0f}/s with {done.jobs} processes, "
        f"{summary.schedules / max(summary.cpu_s, 1e-9):.0f} per CPU second: {summary.text()}"
    )
    for result in summary.failures[:3]:
        say("\n" + explain(result))
    if interrupted:
        say("interrupted; " + ("the same command goes on from here" if path else f"go on with --from {done.following}"))
        return 130
    return 1 if summary.failures else 0


def _sweep(pool: Pool, done: Sweep, end: int, path: Path | None) -> None:
    shares = [(at, min(SHARE, end - at)) for at in range(done.following, end, SHARE)]
    told = last = time.monotonic()
    for (first, size), summary in zip(shares, pool.imap(_share, shares), strict=True):  # in order: what is done is a range
        now = time.monotonic()
        done.summary.merge(summary)
        done.following = first + size
        done.seconds += now - last
        last = now
        if now - told > TELL_S:
            told = now
            total = done.summary
            rate = total.schedules / done.seconds
            say(
                f"{total.schedules:,} of {end - done.first:,} schedules, {rate:.0f}/s, "
                f"{(end - done.following) / rate / 60:.0f} minutes to go, {len(total.failures)} failures"
            )
            if path is not None:
                done.write(path)
        if len(done.summary.failures) >= ENOUGH_FAILURES:
            return


def _prepare() -> None:
    """In each process: it ends when its parent says so, and what is there already is no garbage."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()


def _share(share: tuple[int, int]) -> Summary:
    first, size = share
    return sweep(range(first, first + size))


if __name__ == "__main__":
    sys.exit(main())
