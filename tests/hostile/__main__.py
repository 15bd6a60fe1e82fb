"""`make hostile`: everything bad that can be written, beside 20 honest messages a second. Exit 1 when one of them paid for it."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.hostile.round import MEMORY_MIB, Plan, Report, Round

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "hostile.json"


def say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def table(report: Report) -> None:
    print(f"\n{'honest messages':<26}{'sent':>8}{'lost':>6}{'doubled':>9}{'failed':>8}{'p50':>10}{'p99':>10}{'max':>10}")
    for name, each in (("in the quiet time", report.quiet), ("under attack", report.hostile)):
        print(
            f"{name:<26}{each.messages:>8}{each.lost:>6}{each.doubled:>9}{each.failed:>8}"
            f"{each.p50_s * 1000:>7.0f} ms{each.p99_s * 1000:>7.0f} ms{each.max_s * 1000:>7.0f} ms"
        )
    print(f"{report.hostile.beside_restarts} of them while a processor was being restarted: their latency is left out")
    print(f"\n{'process':<26}{'most':>12}{'growth':>18}")
    for name, mib in report.memory_mib.items():
        slope = report.growth_mib_a_minute.get(name)
        print(f"{name:<26}{mib:>8.0f} MiB{'' if slope is None else f'{slope:>+11.2f} MiB/min':>18}")
    print("\nrecords of the attack: " + ", ".join(f"{count} {kind}" for kind, count in report.attack.items()))
    print("dead letters: " + (", ".join(f"{count} {code}" for code, count in report.dead_letters.items()) or "none"))
    print(f"restarts on purpose: {report.restarts}; processes that ended by themselves: {len(report.ended)}")
    for line in report.broken:
        print(f"BROKEN {line}")
    print("every promise held" if not report.broken else f"{len(report.broken)} promises were broken")


def main() -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what the broker refuses is counted
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of attack")
    parser.add_argument("--quiet-seconds", type=float, default=60.0, help="without one, before, to learn the usual latency")
    parser.add_argument("--rate", type=float, default=20.0, help="honest messages a second")
    parser.add_argument("--kinds", default="message,garbage,definition,program,burst", help="of the attack, with commas")
    parser.add_argument("--restart-every", type=float, default=60.0, help="seconds between two restarts; 0: none")
    parser.add_argument("--memory-mib", type=float, default=MEMORY_MIB, help="what no process may exceed")
    parser.add_argument("--ratio", type=float, default=3.0, help="latency under attack by usual latency; 0: not judged")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="keep the folder with all data and logs")
    given = parser.parse_args()
    plan = Plan(
        attack_s=given.minutes * 60,
        quiet_s=given.quiet_seconds,
        rate=given.rate,
        kinds=tuple(kind for kind in given.kinds.split(",") if kind),
        restart_every_s=given.restart_every,
        memory_mib=given.memory_mib,
        ratio=given.ratio,
        seed=given.seed,
    )
    folder = Path(tempfile.mkdtemp(prefix="hil-hostile-"))
    say(f"seed {plan.seed}, in {folder}")
    keep = given.keep
    try:
        report = asyncio.run(Round(folder, plan, say).run())
        keep = keep or bool(report.broken)
    except BaseException:
        keep = True
        raise
    finally:
        if keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    table(report)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
