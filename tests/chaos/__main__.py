"""`make chaos`: breaks a running deployment in every way there is, and counts. Exit 1 when anything was lost or done twice.

With --brokers 3 it is the brokers that are broken: see `tests.chaos.clustered`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median

from connectors.settings import Settings
from tests.chaos import clustered
from tests.chaos.faults import Chaos, Happened
from tests.chaos.fleet import EVERYTHING, Fleet
from tests.chaos.oracle import Verdict, watching

PARTS = ("kills", "together", "takeover", "tuned", "tuned-takeover", "restart", "freeze", "broker", "postgres", "rolling")
APART = ("together", "tuned", "tuned-takeover", "restart")
"""Those that want another fleet than the default one."""
KILLING = ("kills", "together", "tuned")
RESULTS = Path(__file__).parents[2] / "bench" / "results"


async def chaos(
    given: argparse.Namespace, parts: list[str], kills: int, environment: dict[str, str]
) -> tuple[list[Happened], Verdict, list[str]]:
    """One fleet, some kinds of faults, one verdict."""
    folder = Path(tempfile.mkdtemp(prefix="hil-chaos-"))
    workers = dict.fromkeys(("intake", "conversations", "nodes"), given.workers) | {"projector": 1}
    if parts == ["together"]:
        workers = {EVERYTHING: given.workers}
    happened: list[Happened] = []
    try:
        report(f"starting {sum(workers.values())} workers, a broker and a database in {folder}")
        async with (
            Fleet(folder, workers, environment) as fleet,
            watching(fleet.bootstrap, fleet.shop_url, given.rate) as oracle,
        ):
            it = Chaos(fleet, oracle, random.Random(given.seed), report)
            await asyncio.sleep(3)
            session_s = Settings.from_environment(environment).session_timeout_ms / 1000
            for part in parts:
                report(f"{part} …")
                match part:
                    case "kills" | "tuned":
                        happened += await it.kills(kills, given.kinds.split(","))
                    case "together":
                        happened += await it.kills(kills, (EVERYTHING,))
                    case "takeover" | "tuned-takeover":
                        for kind in ("conversations", "intake", "nodes"):
                            happened.append(await it.takeovers(kind, given.takeovers, hold_s=session_s + 6))
                    case "restart":
                        for kind in ("conversations", "intake", "nodes"):
                            happened.append(await it.takeovers(kind, given.takeovers, hold_s=None))
                    case "freeze":
                        happened.append(await it.freezes(given.freezes, session_s=session_s))
                    case "broker":
                        happened.append(await it.broker_restarts(given.restarts))
                    case "postgres":
                        happened.append(await it.postgres_restarts(given.restarts))
                    case "rolling":
                        happened.append(await it.rolling_restart())
            verdict = await oracle.finish(180)
            remarks = [f"{times} failed: {why}" for why, times in oracle.failures().most_common(5)]
            remarks += [f"{worker.name} ended {len(worker.exits)} times by itself" for worker in fleet.workers if worker.exits]
            if not verdict.good:
                report(fleet.tails())
                report("dead letters: " + "; ".join(oracle.dead[:5]))
                report(oracle.wrong())
                given.keep = True
            return happened, verdict, remarks
    finally:
        if given.keep:
            report(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def table(happened: list[Happened], verdict: Verdict, remarks: list[str], seconds: float) -> None:
    print(f"\n{'fault':<42}{'count':>6}{'partition back p50':>20}{'p95':>8}{'max':>8}{'all answered p50':>18}{'max':>8}")
    for kind in happened:
        first, last = kind.first_s, kind.all_s
        figures = ""
        if first:
            p95 = sorted(first)[min(len(first) - 1, int(0.95 * len(first)))]
            figures = f"{median(first):>18.2f} s{p95:>6.2f} s{max(first):>6.2f} s{median(last):>16.2f} s{max(last):>6.2f} s"
        print(f"{kind.name:<42}{kind.count:>6}{figures}")
    print(f"\nin {seconds:.0f} s: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(verdict).items()))
    for line in remarks:
        print(line)


def report(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


TUNED = {"HIL_SESSION_TIMEOUT_MS": "750", "HIL_STANDBY": "on"}
"""For a deployment that must be back soon: docs/guides/recovery.md."""


def main() -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is away is the point
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", help=f"some of {','.join(PARTS)}; with --brokers 3 of {','.join(clustered.PARTS)}")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--rounds", type=int, help="with --brokers 3: faults of each kind; unless given, 30 in all")
    parser.add_argument("--starts", type=int, default=50, help="with --brokers 3: of each processor, each way")
    parser.add_argument("--seconds", type=float, help="with --brokers 3: begin no other kind of fault after so long")
    parser.add_argument("--add", action="store_true", help="with --brokers 3: add to the results that are there")
    parser.add_argument("--kills", type=int, default=200, help=f"in all; {', '.join(KILLING)} share them")
    parser.add_argument("--kinds", default="intake,conversations,nodes", help="of workers to kill, in turns")
    parser.add_argument("--takeovers", type=int, default=5, help="of each kind of worker, to measure recovery")
    parser.add_argument("--freezes", type=int, default=5)
    parser.add_argument("--restarts", type=int, default=2, help="of the broker and of Postgres")
    parser.add_argument("--workers", type=int, default=2, help="of each kind")
    parser.add_argument("--rate", type=float, help="messages a second: 8, or 20 with --brokers 3")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folder with all data and logs")
    given = parser.parse_args()
    given.rate = given.rate or (8.0 if given.brokers == 1 else 20.0)
    if given.brokers == 3:
        return clustered.main(given, RESULTS / "chaos-brokers.json", report)
    wanted = given.only.split(",") if given.only else list(PARTS)
    kills = given.kills // max(1, sum(part in wanted for part in KILLING))
    fleets: list[tuple[str, list[str], dict[str, str]]] = [
        ("default settings", [part for part in wanted if part not in APART], {}),
        ("default settings, all processors in each process", [part for part in wanted if part == "together"], {}),
        (
            " ".join(f"{name}={value}" for name, value in TUNED.items()),
            [part for part in wanted if part.startswith("tuned")],
            TUNED,
        ),
        ("HIL_INSTANCE set: static members", [part for part in wanted if part == "restart"], {"HIL_INSTANCE": "yes"}),
    ]
    good, results = True, []
    for title, parts, environment in fleets:
        if parts:
            began = time.monotonic()
            happened, verdict, remarks = asyncio.run(chaos(given, parts, kills, environment))
            print(f"\n== {title}")
            table(happened, verdict, remarks, time.monotonic() - began)
            good = good and verdict.good
            results.append({"settings": title, "faults": [asdict(kind) for kind in happened], "verdict": asdict(verdict)})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "chaos.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
