"""Migrations against a real Postgres: once, forward only, by any number of processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from connectors.postgres.errors import StorageError
from connectors.postgres.migrate import Migration, migrate, migrations
from connectors.postgres.pool import Pool, open_pool

pytestmark = pytest.mark.postgres


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=6)
    yield pool
    await pool.close()


async def test_the_second_time_there_is_nothing_to_do(pool: Pool) -> None:
    assert await migrate(pool) == [step.name for step in migrations()]
    assert await migrate(pool) == []


async def test_of_several_at_once_one_applies_and_the_others_wait_for_it(pool: Pool) -> None:
    applied = await asyncio.gather(*(migrate(pool) for _ in range(5)))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, len(migrations())]


async def test_only_what_is_missing_is_applied(pool: Pool) -> None:
    steps = migrations()
    await migrate(pool, steps[:1])
    assert await migrate(pool, steps) == [step.name for step in steps[1:]]


async def test_a_database_from_a_newer_version_is_refused(pool: Pool) -> None:
    steps = migrations()
    newer = Migration(len(steps) + 1, "9999_future", "CREATE TABLE future ()")
    await migrate(pool, [*steps, newer])
    with pytest.raises(StorageError, match=r"9999_future.*does not know.*newer"):
        await migrate(pool, steps)


async def test_an_edited_migration_is_refused(pool: Pool) -> None:
    first, *rest = migrations()
    await migrate(pool, [first, *rest])
    with pytest.raises(StorageError, match="another text of migration 0001_projection"):
        await migrate(pool, [replace(first, sql=first.sql + "\n-- harmless"), *rest])


async def test_a_migration_that_fails_leaves_nothing_behind(pool: Pool) -> None:
    broken = Migration(2, "0002_broken", "CREATE TABLE half_done (); SELECT nonsense")
    with pytest.raises(StorageError, match="0002_broken failed, nothing was changed"):
        await migrate(pool, [migrations()[0], broken])
    assert await pool.fetch("SELECT 1 FROM pg_class WHERE relname IN ('half_done', 'messages', 'schema_migrations')") == []


async def test_a_missing_extension_says_how_to_get_it(pool: Pool) -> None:
    missing = Migration(1, "0001_missing", "CREATE EXTENSION no_such_extension")
    with pytest.raises(StorageError, match=r"0001_missing.*pgvector"):
        await migrate(pool, [missing])


async def test_a_database_that_does_not_exist_is_named_without_the_password(database: str) -> None:
    url = database.replace("postgres@", "postgres:s3cret@", 1).rsplit("/", 1)[0] + "/nowhere"
    with pytest.raises(StorageError, match="/nowhere has no such database") as caught:
        await open_pool(url)
    assert "s3cret" not in str(caught.value)
