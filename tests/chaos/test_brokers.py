"""A short round of what `make chaos BROKERS=3` does to three brokers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.brokers import PARTITIONS, Faults
from tests.chaos.fleet import Fleet
from tests.chaos.oracle import at_work
from tests.chaos.stock import Stock
from tests.support.cluster import SOON, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.postgres, pytest.mark.xdist_group("system")]


WORKERS = {"intake": 1, "conversations": 1, "nodes": 1}


async def test_a_killed_and_a_frozen_leader_lose_nothing_and_end_no_process(tmp_path: Path) -> None:
    """Every partition is read and answered; librdkafka writes and counts, and the toy shop says what was done."""
    cluster = Cluster(tmp_path / "cluster", settings=SOON)
    async with Fleet(tmp_path, WORKERS, cluster=cluster, partitions=PARTITIONS) as fleet:
        oracle = Stock(fleet.bootstrap, fleet.shop_url, 4, PARTITIONS)
        async with at_work(oracle):
            faults = Faults(fleet, oracle, random.Random(7), lambda line: None, steady_s=1.0)
            rounds = [await faults.round("leader", 5.0), await faults.round("freeze20", 8.0)]
            verdict = await oracle.finish(120)
            assert verdict.good, f"{verdict}\n{oracle.wrong()}\n{fleet.tails()}"
            assert [each.ended for each in rounds] == [[], []], fleet.tails()
            assert None not in oracle.first_read().values()
            assert "no difference" in await fleet.run("replay", "verify")
