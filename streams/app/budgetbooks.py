"""`hil budgets`, on a running system."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectors.cli.ports import CannotGoOn
from connectors.postgres.errors import StorageError
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.spending import Reconciled, Use, reconcile_all, used
from streams.app.processors import clock_ms
from streams.app.system import Application


class BudgetBooks:
    """connectors.cli.budgets.Books."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def budgets(self) -> list[Use]:
        async with self._pool() as pool:
            return await used(pool)

    async def reconcile_budgets(self, *, older_than_minutes: int) -> list[Reconciled]:
        until_ms = clock_ms() - older_than_minutes * 60_000
        async with self._pool() as pool:
            return await reconcile_all(pool, until_ms=until_ms)

    @asynccontextmanager
    async def _pool(self) -> AsyncIterator[Pool]:
        async with self._application.attached() as gateway:
            try:
                async with await open_pool(gateway.addresses.database_url) as pool:
                    yield pool
            except StorageError as error:
                raise CannotGoOn(str(error)) from error
