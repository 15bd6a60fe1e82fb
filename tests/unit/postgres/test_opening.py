"""What is said when there is no database to open, and when migrations are misnumbered."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from connectors.postgres.errors import StorageError
from connectors.postgres.migrate import migrations
from connectors.postgres.pool import open_pool


async def test_nobody_listening_says_start_it_and_keeps_the_password() -> None:
    with socket.socket() as taken:  # bound and never listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(StorageError, match=rf"no Postgres at 127\.0\.0\.1:{port}/hil: start it, or unset") as caught:
            await open_pool(f"postgresql://user:s3cret@127.0.0.1:{port}/hil")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://127.0.0.1/hil", "postgresql://127.0.0.1:many/hil"])
async def test_what_is_no_address_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(StorageError, match="write postgresql://user:password@host:5432/database"):
        await open_pool(url)


def test_the_shipped_migrations_are_numbered_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


@pytest.mark.parametrize("names", [["0001_a.sql", "0003_c.sql"], ["0001_a.sql", "0001_b.sql"], ["first.sql"]])
def test_misnumbered_migrations_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(StorageError):
        migrations(tmp_path)
