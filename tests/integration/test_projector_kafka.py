"""The projector under the batch runtime, on a real broker and a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from connectors.kafka.admin import create_topics
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.projection import PostgresProjection, reset
from schemas.base import Event
from schemas.codec import encode
from schemas.topics import Topic
from streams.projector import Projector
from streams.runtime import BatchRuntime, BatchSettings, Outgoing, Publisher
from tests.integration.projector_log import everything, run

pytestmark = [pytest.mark.postgres, pytest.mark.kafka]
PATIENCE_S = 60


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    yield pool
    await pool.close()


@pytest.fixture
async def topic(kafka_bootstrap: str, unique: str) -> str:
    """A topic of three partitions in the place of workflow.events."""
    name = f"{unique}.workflow.events"
    await create_topics(kafka_bootstrap, partitions=3, topics={name: Topic(name, (), retention_ms=-1)})
    return name


async def _produce(bootstrap: str, topic: str, events: Sequence[Event]) -> None:
    async with Publisher(bootstrap) as publisher:
        await publisher.send([Outgoing(topic, event.key.encode(), *encode(event)) for event in events])


@asynccontextmanager
async def _projecting(bootstrap: str, topic: str, pool: Pool) -> AsyncIterator[BatchRuntime]:
    runtime = BatchRuntime(BatchSettings(bootstrap, f"{topic}.projector", (topic,)), Projector(PostgresProjection(pool)))
    running = asyncio.create_task(runtime.run())
    try:
        await asyncio.wait_for(runtime.ready(), PATIENCE_S)
        yield runtime
    finally:
        await runtime.stop()
        await running


async def _until(pool: Pool, messages: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await pool.fetchval("SELECT count(*) FROM messages") < messages:
            await asyncio.sleep(0.02)


def _conversations(names: Sequence[str], turns: Sequence[int]) -> list[Event]:
    return [event for turn in turns for name in names for event in run(name, turn)]


async def test_a_restart_goes_on_and_a_rebuild_gives_the_same_rows(kafka_bootstrap: str, topic: str, pool: Pool) -> None:
    names = [f"c{n}" for n in range(20)]
    await _produce(kafka_bootstrap, topic, _conversations(names, [1]))
    async with _projecting(kafka_bootstrap, topic, pool):
        await _until(pool, 40)
    await _produce(kafka_bootstrap, topic, _conversations(names, [2]))
    async with _projecting(kafka_bootstrap, topic, pool):
        await _until(pool, 80)
    before = await everything(pool)
    assert await pool.fetchval("SELECT sum(next_offset) FROM projection_offsets") == 200
    await reset(pool)
    async with _projecting(kafka_bootstrap, topic, pool):
        await _until(pool, 80)
        async with asyncio.timeout(PATIENCE_S):
            while await pool.fetchval("SELECT sum(next_offset) FROM projection_offsets") < 200:
                await asyncio.sleep(0.02)
    assert await everything(pool) == before


async def test_a_second_projector_takes_its_share_and_hands_it_back(kafka_bootstrap: str, topic: str, pool: Pool) -> None:
    """Partitions move in both directions while records arrive; none is lost, and neither projector is stopped as a zombie."""
    names = [f"c{n}" for n in range(20)]
    async with _projecting(kafka_bootstrap, topic, pool):
        await _produce(kafka_bootstrap, topic, _conversations(names, [1]))
        async with _projecting(kafka_bootstrap, topic, pool):
            await _produce(kafka_bootstrap, topic, _conversations(names, [2]))
            await _until(pool, 80)
        await _produce(kafka_bootstrap, topic, _conversations(names, [3]))
        await _until(pool, 120)
    assert await pool.fetchval("SELECT count(*) FROM workflow_executions WHERE status = 'completed'") == 60
