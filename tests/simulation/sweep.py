"""Many schedules, one after the other; and what is left of one that fails once everything it does not need is gone."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.simulation.clients.patching import simulated
from tests.simulation.plan import Keep, Plan, draw
from tests.simulation.schedule import Result, run
from tests.simulation.summary import Summary

SHRINK_RUNS = 150
COLLECT_EVERY = 4
"""Schedules between two collections of garbage: what they leave behind should still be in the processor's cache."""


def sweep(seeds: Iterable[int], *, stop_after: int = 5) -> Summary:
    """Run these seeds; give up after so many failures."""
    summary, began = Summary(), time.process_time()
    with _unhurried(), simulated():
        for seed in seeds:
            summary.add(run(draw(seed)))
            if summary.schedules % COLLECT_EVERY == 0:
                gc.collect()
            if len(summary.failures) >= stop_after:
                break
    summary.cpu_s = time.process_time() - began
    return summary


def explain(result: Result) -> str:
    """A failure for people: what was broken, the smallest form of it that was found, its trace, and how to see it again."""
    plan = shrink(draw(result.seed))
    small = run(plan, trace=True)
    faults = "\n".join(f"  {fault}" for fault in plan.faults) or "  none"
    trace = "\n".join(f"  {line}" for line in small.trace[-60:])
    nodes = ", ".join(str(len(body["workflow"]["nodes"])) for body in plan.definitions)
    return (
        f"seed {result.seed}: {result.failure}\n"
        f"shrunk to {plan}: {small.failure}\n"
        f"{len(plan.sendings)} messages, workflows of {nodes} nodes, processes {plan.slots}, {plan.settings}\n"
        f"faults:\n{faults}\ntrace:\n{trace}\n"
        f"again: make simulate REPLAY={plan}"
    )


def shrink(plan: Plan) -> Plan:
    """Leave out faults, messages and nodes as long as it still fails."""
    with _unhurried(), simulated():
        keep = plan.keep
        sizes = {
            "faults": len(replace_all(plan.seed, keep).faults),
            "messages": len(replace_all(plan.seed, keep).sendings),
            "nodes": max(len(body["workflow"]["nodes"]) for body in plan.definitions),
        }
        runs = 0
        again = True
        while again and runs < SHRINK_RUNS:
            again = False
            for name, size in sizes.items():
                kept = getattr(keep, name)
                for number in sorted(range(size) if kept is None else kept, reverse=True):
                    smaller = (frozenset(range(size)) if kept is None else kept) - {number}
                    if name != "faults" and not smaller:
                        continue
                    attempt = replace(keep, **{name: smaller})
                    runs += 1
                    if runs < SHRINK_RUNS and _fails(plan.seed, attempt):
                        keep, kept, again = attempt, smaller, True
        return draw(plan.seed, keep)


def replace_all(seed: int, keep: Keep) -> Plan:
    return draw(seed, replace(keep, faults=None, messages=None))


def _fails(seed: int, keep: Keep) -> bool:
    plan = draw(seed, keep)
    return all(body["workflow"]["nodes"] for body in plan.definitions) and run(plan).failure is not None


@contextmanager
def _unhurried() -> Iterator[None]:
    """No garbage is collected within a schedule or in what was there before, and nothing is traced: each takes longer than it."""
    was_enabled, was_frozen, tracer = gc.isenabled(), gc.get_freeze_count() > 0, sys.gettrace()
    if not was_frozen:
        gc.collect()
        gc.freeze()
    gc.disable()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
        if not was_frozen:
            gc.unfreeze()
        if was_enabled:
            gc.enable()
