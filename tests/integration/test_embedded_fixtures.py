"""The fixtures every other test relies on."""

from __future__ import annotations

import socket

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support import wall


@pytest.mark.kafka
async def test_the_runs_broker_creates_topics_and_nothing_by_itself(kafka_bootstrap: str, unique: str) -> None:
    """A name of one's own can be created; a name merely asked for is not."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(f"{unique}.here", 2, 1)])
        await admin.describe_topics([f"{unique}.missing"])
        names = [name for name in await admin.list_topics() if name.startswith(unique)]
    finally:
        await admin.close()
    assert names == [f"{unique}.here"]


@pytest.mark.postgres
@pytest.mark.parametrize("attempt", [1, 2])
async def test_each_test_has_an_empty_database(database: str, attempt: int) -> None:
    """The same table can be made by each, because none sees the other's."""
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE mine (attempt int)")
    await connection.execute("INSERT INTO mine VALUES ($1)", attempt)
    rows = await connection.fetch("SELECT attempt FROM mine")
    await connection.close()
    assert [row["attempt"] for row in rows] == [attempt]


@pytest.mark.postgres
async def test_the_database_has_vectors(database: str) -> None:
    """Knowledge documents are found by pgvector."""
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE EXTENSION vector")
    distance = await connection.fetchval("SELECT '[1,0]'::vector <-> '[1,2]'::vector")
    await connection.close()
    assert distance == 2.0


def test_the_wall_refuses_the_outside() -> None:
    """Neither a name nor an address beyond loopback gets through, and the attempt is remembered against the test."""
    with pytest.raises(wall.OutsideConnectionError):
        socket.create_connection(("example.org", 80), timeout=1)
    with pytest.raises(wall.OutsideConnectionError), socket.socket() as probe:
        probe.connect(("192.0.2.1", 80))
    assert wall.refused == ["example.org", "192.0.2.1"]
    wall.refused.clear()
