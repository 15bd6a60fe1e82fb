"""What can be wrong with the database, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

GONE = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
"""How a database says that it went away, or was never there."""


class StorageError(RuntimeError):
    """Postgres cannot be used as it is; the message says what is wrong and what to do."""


class OvertakenError(StorageError):
    """Another projector has taken over a partition of ours. Nothing was written: stop."""


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Turn what a lost or unprepared database raises into StorageError. `doing` begins the message."""
    try:
        yield
    except GONE as error:
        raise StorageError(
            f"{doing}: Postgres has gone away ({error}). Nothing was lost: start it, then start this again"
        ) from error
    except asyncpg.UndefinedTableError as error:
        raise StorageError(
            f"{doing}: the tables are not there ({error.message}). Run the migrations first: `hil up` does"
        ) from error
