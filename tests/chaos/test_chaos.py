"""A short round of chaos: enough to notice when something is lost or done twice. `make chaos` is the long one."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.chaos.faults import Chaos
from tests.chaos.fleet import Fleet
from tests.chaos.oracle import watching

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.xdist_group("system")]


async def test_kills_a_zombie_and_a_broker_restart_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    """Two workers of each kind under load; a plain client counts responses, and the toy shop what was done."""
    workers = {"intake": 1, "conversations": 2, "nodes": 2}
    environment = {"HIL_SESSION_TIMEOUT_MS": "1500", "HIL_STANDBY": "on"}
    async with Fleet(tmp_path, workers, environment) as fleet, watching(fleet.bootstrap, fleet.shop_url, 4) as oracle:
        chaos = Chaos(fleet, oracle, random.Random(7), lambda line: None)
        await chaos.kills(4)
        await chaos.freezes(1, session_s=1.5)
        await chaos.broker_restarts(1)
        verdict = await oracle.finish(60)
        assert verdict.good, f"{verdict}\n{oracle.wrong()}\n{fleet.tails()}"
        assert verdict.messages > 20
        for worker in fleet.workers:
            worker.signal(signal.SIGTERM)
