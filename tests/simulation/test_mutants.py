"""The simulation notices when the runtime breaks a promise."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.sweep import sweep

BOUND = 300


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.__name__) for mutant in MUTANTS])
def test_a_broken_promise_is_noticed(mutant: Mutant) -> None:
    with mutant():
        summary = sweep(range(BOUND), stop_after=1)
    assert summary.failures, f"{BOUND} schedules, and nobody noticed"
    assert "ended with" not in str(summary.failures[0].failure), "this mutant breaks no promise, it just crashes"
