"""Bring a database to the tables this version needs: forward only, each step once, all or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from connectors.postgres.errors import StorageError
from connectors.postgres.pool import Pool

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x68696C  # "hil": any number that no other user of the database is likely to choose
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. A step that was ever applied anywhere is never edited: its checksum is kept in the database."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """The steps of `folder`, named NNNN_what.sql and numbered from 1 without a gap."""
    steps = [_read(path) for path in sorted(folder.glob("*.sql"))]
    if [step.version for step in steps] != list(range(1, len(steps) + 1)):
        raise StorageError(f"the migrations in {folder} are not numbered 1, 2, 3, …: {', '.join(step.name for step in steps)}")
    return steps


async def migrate(pool: Pool, steps: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is missing, in one transaction; the names of what was applied. Any number of processes may call it at once.

    Raises StorageError when the database was made by a newer version or by edited steps; then nothing was changed.
    """
    wanted = migrations() if steps is None else steps
    async with pool.acquire() as connection, connection.transaction():
        # Held to the end of the transaction: whoever comes second finds everything applied.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
        missing = _missing(wanted, {row["version"]: (row["name"], row["checksum"]) for row in rows})
        for step in missing:
            try:
                await connection.execute(step.sql)
            except asyncpg.FeatureNotSupportedError as error:
                raise StorageError(
                    f"migration {step.name} failed ({error.message}): install pgvector 0.8 or newer on this Postgres, "
                    "or use an image that has it, such as pgvector/pgvector"
                ) from error
            except asyncpg.InsufficientPrivilegeError as error:
                raise StorageError(
                    f"migration {step.name} is not permitted ({error.message}): "
                    "let an administrator run `CREATE EXTENSION vector` and grant this user CREATE on the schema"
                ) from error
            except asyncpg.PostgresError as error:
                raise StorageError(f"migration {step.name} failed, nothing was changed: {error.message}") from error
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                step.version,
                step.name,
                step.checksum,
            )
    return [step.name for step in missing]


def _read(path: Path) -> Migration:
    number, _, _ = path.stem.partition("_")
    if not number.isdecimal():
        raise StorageError(f"{path} is not a migration: name it NNNN_what.sql")
    return Migration(int(number), path.stem, path.read_text(encoding="utf-8"))


def _missing(wanted: Sequence[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """The steps not yet applied, after checking that the applied ones are ours."""
    known = {step.version: step for step in wanted}
    for version, (name, checksum) in applied.items():
        step = known.get(version)
        if step is None:
            raise StorageError(
                f"the database has migration {name}, which this version of hil-agents does not know: "
                "install the version that made it, or a newer one"
            )
        if step.checksum != checksum:
            raise StorageError(
                f"the database was made with another text of migration {name} than this version has: "
                "use the version that made it, or start with an empty database and copy the log again"
            )
    return [step for step in wanted if step.version not in applied]
