"""Dropping the projection and making it again from the log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.embeddings import WordLlamaEmbedder
from connectors.postgres.errors import OvertakenError
from connectors.postgres.knowledge import KnowledgeStore
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.projection import rebuildable, reset
from connectors.postgres.tables import TABLES
from tests.integration.projector_log import everything, small_log, started

pytestmark = pytest.mark.postgres


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    yield pool
    await pool.close()


async def test_a_rebuild_gives_the_same_rows(pool: Pool) -> None:
    log = small_log()
    projector = await started(pool, log)
    for start in range(0, len(log), 7):
        await projector.handle(log[start : start + 7])
    before = await everything(pool)
    await reset(pool)
    assert not any((await everything(pool)).values())
    await (await started(pool, log)).handle(log)
    assert await everything(pool) == before


async def test_what_a_rebuild_empties_is_what_the_projector_writes(pool: Pool) -> None:
    assert set(await rebuildable(pool)) == {table.name for table in TABLES}


async def test_every_column_the_projector_writes_exists_with_its_type(pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    )
    long_names = {"timestamptz": "timestamp with time zone"}
    there = {(row["table_name"], row["column_name"]): row["data_type"] for row in rows}
    for table in TABLES:
        for column, kind in table.columns.items():
            assert there[table.name, column] == long_names.get(kind, kind)


async def test_a_rebuild_leaves_the_knowledge_alone(pool: Pool) -> None:
    await KnowledgeStore(pool, WordLlamaEmbedder()).add("returns.md", "# Returns\n\nWithin 30 days.")
    await reset(pool)
    assert await pool.fetchval("SELECT count(*) FROM knowledge_chunks") == 1


async def test_a_projector_that_runs_during_a_rebuild_stops(pool: Pool) -> None:
    log = small_log()
    projector = await started(pool, log)
    await projector.handle(log[:5])
    await reset(pool)
    with pytest.raises(OvertakenError, match="rebuild"):
        await projector.handle(log[5:])
    assert not any((await everything(pool)).values())
