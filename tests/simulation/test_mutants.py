"""The simulation notices when the runtime breaks a promise."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, begin_without_holding_the_fence, states_read_before_fencing
from tests.simulation.sweep import sweep

BOUND = 300
RARE: dict[Mutant, int] = {begin_without_holding_the_fence: 1500, states_read_before_fencing: 1000}
"""Mutants that about one schedule in a thousand shows: the seed near which one does."""


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.__name__) for mutant in MUTANTS])
def test_a_broken_promise_is_noticed(mutant: Mutant) -> None:
    first = RARE.get(mutant, 0)
    with mutant():
        summary = sweep(range(first, first + BOUND), stop_after=1)
    assert summary.failures, f"{BOUND} schedules from seed {first} on, and nobody noticed"
    assert "ended with" not in str(summary.failures[0].failure), "this mutant breaks no promise, it just crashes"
