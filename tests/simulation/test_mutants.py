"""The simulation notices when the runtime breaks a promise."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, begin_without_holding_the_fence
from tests.simulation.sweep import sweep

BOUND = 300
RARE: dict[Mutant, tuple[int, ...]] = {begin_without_holding_the_fence: (1617, 4541, 5201)}
"""Mutants that about one schedule in a thousand shows: seeds of which one does."""


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.__name__) for mutant in MUTANTS])
def test_a_broken_promise_is_noticed(mutant: Mutant) -> None:
    known = RARE.get(mutant, (0,))
    seeds = [seed for each in known for seed in range(each, each + BOUND // len(known))]
    with mutant():
        summary = sweep(seeds, stop_after=1)
    assert summary.failures, f"{BOUND} schedules from the seeds {known} on, and nobody noticed"
