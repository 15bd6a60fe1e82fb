"""Connections to Postgres, and what to say when there is none."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg

from connectors.postgres.errors import StorageError

# asyncpg classes are generic for type checkers alone.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
CONNECT_SECONDS = 10.0


async def open_pool(url: str, *, min_size: int = 1, max_size: int = 8) -> Pool:
    """A pool with `min_size` connections already open. The caller closes it.

    Raises StorageError, in words that say what to do.
    """
    where = _shown(url)
    try:
        pool = asyncpg.create_pool(
            url,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": "hil", "timezone": "UTC"},
        )
        return await pool
    except asyncpg.InvalidCatalogNameError as error:
        raise StorageError(f"Postgres at {where} has no such database: create it, or correct HIL_DATABASE_URL") from error
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise StorageError(f"Postgres at {where} refuses this user or password ({error}): correct HIL_DATABASE_URL") from error
    except asyncpg.TooManyConnectionsError as error:
        raise StorageError(
            f"Postgres at {where} has no connection left: raise max_connections, or stop another client"
        ) from error
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
        raise StorageError(f"no Postgres at {where}: start it, or unset HIL_DATABASE_URL to use the embedded one") from error
    except (ValueError, asyncpg.InterfaceError):
        # What could not be read may be a piece of the password: it is not repeated.
        raise StorageError(
            "HIL_DATABASE_URL is not a Postgres address: write postgresql://user:password@host:5432/database, with "
            "%40 for @, %2F for / and %23 for # in the password"
        ) from None
    except asyncpg.PostgresError as error:
        raise StorageError(f"Postgres at {where} cannot be used: {error}") from error


def _shown(url: str) -> str:
    """The address without user and password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "the local socket"
        if "@" in parts.path:
            raise ValueError("a password with a / in it is not read as one")
        return f"{host}:{parts.port or 5432}{parts.path}"
    except ValueError:
        return "the address of HIL_DATABASE_URL"
