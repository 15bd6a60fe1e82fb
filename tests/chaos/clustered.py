"""`make chaos BROKERS=3`: three brokers are killed, frozen, restarted and moved under a running deployment, and it is counted.

Exit 1 when anything was lost or done twice, when a partition went unread, or when a process ended though one broker was gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.brokers import KINDS, PARTITIONS, ROUNDS, WORKERS, Faults, Round
from tests.chaos.fleet import Fleet
from tests.chaos.oracle import Verdict, at_work
from tests.chaos.stock import Stock
from tests.support.cluster import Cluster

PARTS = (*KINDS, "starts")
STARTED = ("intake", "conversations", "nodes", "ledger", "projector")
BROKEN = ("", "kill", "freeze")
AGAIN_S = 5.0
"""How soon answers are to flow again after a stock client can write."""


@dataclass
class Outcome:
    rounds: list[Round] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Starts after which a partition was not read."""
    starts: int = 0
    first_s: dict[int, float | None] = field(default_factory=dict)
    """Partition → seconds from its first message until it was read, after the fleet was started."""
    verdict: Verdict = field(default_factory=Verdict)
    verified: str = ""
    """What `hil replay verify` said; empty when it failed."""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        read = None not in self.first_s.values() and not self.unread
        return self.verdict.good and read and bool(self.verified) and all(each.good for each in self.rounds)


async def chaos(given: argparse.Namespace, parts: list[str], report: Callable[[str], None]) -> Outcome:
    """One fleet on three brokers, some kinds of faults, one verdict."""
    folder = Path(tempfile.mkdtemp(prefix="hil-chaos-"))
    outcome, began = Outcome(), time.monotonic()
    keep = given.keep
    try:
        report(f"starting three brokers, a database and {sum(WORKERS.values())} workers in {folder}")
        cluster = Cluster(folder / "cluster")
        async with Fleet(folder, WORKERS, cluster=cluster, partitions=PARTITIONS) as fleet:
            oracle = Stock(fleet.bootstrap, fleet.shop_url, given.rate, PARTITIONS)
            async with at_work(oracle):
                faults = Faults(fleet, oracle, random.Random(given.seed), report)
                for part in parts:
                    if given.seconds and time.monotonic() - began > given.seconds:
                        report(f"time is up: no {part}")
                        continue
                    if part == "starts":
                        for kind, broken in ((kind, broken) for kind in STARTED for broken in BROKEN):
                            report(f"{given.starts} starts of {kind}{f', {broken}' if broken else ''}")
                            outcome.unread += await faults.starts(kind, given.starts, broken)
                            outcome.starts += given.starts
                        continue
                    for _ in range(ROUNDS[part] if given.rounds is None else given.rounds):
                        await faults.round(part)
                outcome.rounds = faults.rounds
                outcome.verdict = await oracle.finish(180)
                outcome.first_s = oracle.first_read()
                try:
                    outcome.verified = (await fleet.run("replay", "verify")).strip().splitlines()[-1]
                except RuntimeError as error:
                    report(str(error))
                if not outcome.good:
                    report(fleet.tails())
                    report("dead letters: " + "; ".join(oracle.dead[:5]))
                    report(oracle.wrong())
                    keep = True
        outcome.seconds = time.monotonic() - began
        return outcome
    finally:
        if keep:
            report(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def table(outcome: Outcome) -> None:
    """Print one line a kind; the ranges are of its rounds."""
    columns = ("silence", "stock", "again", "clear", "latest")
    print(f"\n{'fault':<12}{'rounds':>7}{'messages':>10}{'ended':>7}" + "".join(f"{name + ' s':>14}" for name in columns))
    for kind in KINDS:
        rounds = [each for each in outcome.rounds if each.kind == kind]
        if rounds:
            figures = [[getattr(each.flow, f"{name}_s") for each in rounds] for name in columns]
            print(
                f"{kind:<12}{len(rounds):>7}{sum(each.flow.messages for each in rounds):>10}"
                f"{sum(len(each.ended) for each in rounds):>7}" + "".join(f"{_range(values):>14}" for values in figures)
            )
    counts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(outcome.verdict).items())
    print(f"\nin {outcome.seconds:.0f} s: {counts}")
    firsts = {number: "never" if first is None else f"{first:.2f} s" for number, first in outcome.first_s.items()}
    print(f"first read of each partition: {', '.join(f'{number}: {first}' for number, first in firsts.items())}")
    print(f"verify: {outcome.verified or 'failed'}")
    if outcome.starts:
        print(f"{outcome.starts} starts, {len(outcome.unread)} with a partition unread")
    slow = [each for each in outcome.rounds if each.flow.again_s > AGAIN_S]
    for each in slow:
        print(
            f"slower than {AGAIN_S:g} s after a stock client could write: {each.kind} ({each.victims}), {each.flow.again_s:.1f} s"
        )


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.1f}" if len(values) == 1 else f"{low:.1f}-{median(values):.1f}-{high:.1f}"


def save(outcome: Outcome, path: Path, *, add: bool) -> None:
    """Write the results as JSON: a list of runs, one more when `add`."""
    run: dict[str, Any] = {
        "seconds": round(outcome.seconds),
        "rounds": [each.record() for each in outcome.rounds],
        "verdict": asdict(outcome.verdict),
        "first_read_s": {number: first and round(first, 2) for number, first in outcome.first_s.items()},
        "starts": outcome.starts,
        "unread": outcome.unread,
        "verify": re.sub(r"\s+", " ", outcome.verified),
    }
    before = json.loads(path.read_text()) if add and path.exists() else []
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*before, run], indent=1) + "\n")


def main(given: argparse.Namespace, results: Path, report: Callable[[str], None]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing that was started stays behind
    parts = given.only.split(",") if given.only else list(KINDS)
    outcome = asyncio.run(chaos(given, parts, report))
    table(outcome)
    save(outcome, results, add=given.add)
    return 0 if outcome.good else 1
