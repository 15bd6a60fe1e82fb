"""The in-memory broker answers as the real one does."""

from __future__ import annotations

import pytest

from tests.simulation.conformance.cases import CASES, Case
from tests.simulation.conformance.memory import run_in_memory
from tests.simulation.conformance.real import real_wire

every_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.__name__) for case in CASES])


@every_case
def test_in_memory(case: Case) -> None:
    run_in_memory(case)


@pytest.mark.kafka
@pytest.mark.xdist_group("system")
@every_case
async def test_on_a_broker(case: Case, kafka_bootstrap: str, unique: str) -> None:
    async with real_wire(kafka_bootstrap, unique) as wire:
        await case(wire)
