"""The three brokers other tests rely on: each can go and come, and leaders follow."""

from __future__ import annotations

import asyncio
import time

import pytest

from connectors.kafka.admin import create_topics
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("system")]
PATIENCE_S = 120.0
TOPIC = "customer.messages"


async def another(cluster: Cluster, *before: int) -> int:
    """Wait until partition 0 is led by none of these."""
    deadline = time.monotonic() + PATIENCE_S
    while (leader := await cluster.leader(TOPIC, 0)) in (-1, *before):
        assert time.monotonic() < deadline, cluster.tails()
        await asyncio.sleep(0.1)
    return leader


async def test_leaders_follow_what_is_done_to_three_brokers(cluster: Cluster) -> None:
    """Topics have three copies of which two must agree; a killed and a frozen broker lose what they led, and get back in sync."""
    await create_topics(cluster.bootstrap, partitions=3)
    await cluster.settled()
    assert {len(each.replicas) for each in await cluster.partitions()} == {3}
    assert {each.leader for each in await cluster.partitions()} == {1, 2, 3}

    moved = await cluster.move_leaders()
    assert len(moved) == len(await cluster.partitions())
    assert all(before != after for before, after in moved.values())

    victim = await cluster.leader(TOPIC, 0)
    await cluster.kill(victim)
    heir = await another(cluster, victim)
    assert not cluster.brokers[victim].alive
    assert victim not in {each.leader for each in await cluster.partitions()}
    await cluster.start(victim)
    await cluster.settled()

    cluster.freeze(heir)
    third = await another(cluster, heir)
    controller = await cluster.controller()
    assert controller not in (heir, -1)
    cluster.thaw(heir)
    await cluster.settled()

    assert await cluster.leader(TOPIC, 0) == third
    await cluster.stop(third)
    assert await another(cluster, third) in cluster.up
