"""What node workers may spend: their leases of the limits that all share, those of workers that are gone, and whom to tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from agents.router.allowances import Allowances
from agents.router.limits import BudgetAlert
from agents.router.purse import OnAlert
from connectors.cli.ports import CannotGoOn
from connectors.postgres.errors import StorageError
from connectors.postgres.leases import Leases, open_leases
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.reclaiming import Reclaimer
from connectors.settings import Settings
from schemas.topics import ROUTING_DECISIONS
from streams.runtime import RuntimeFailed
from streams.runtime.extent import extent

log = logging.getLogger(__name__)
CONNECTIONS = 2


@asynccontextmanager
async def open_allowances(
    settings: Settings, bootstrap: str, worker: str, announce: OnAlert, clock_ms: Callable[[], int]
) -> AsyncIterator[Allowances]:
    """One for all nodes of a process, which is called `worker` where it holds budgets.

    Postgres is first asked when a workflow or a setting has a daily or monthly budget.

    `announce`: tells others what is in this process's log as well.
    """

    def on_alert(alert: BudgetAlert) -> None:
        log.warning("%s", alert)
        announce(alert)

    if settings.database_url is None:
        if settings.daily_budget is not None or settings.monthly_budget is not None:
            raise CannotGoOn("HIL_DAILY_BUDGET and HIL_MONTHLY_BUDGET are kept in Postgres: set HIL_DATABASE_URL as well")
        yield Allowances(on_alert=on_alert, clock_ms=clock_ms)
        return
    pool = await open_pool(settings.database_url, min_size=0, max_size=CONNECTIONS)
    try:
        async with open_leases(pool, worker, on_alert=on_alert) as leases, _reclaiming(pool, leases, bootstrap):
            limits = {"daily_usd": settings.daily_budget, "monthly_usd": settings.monthly_budget}
            yield Allowances(leases, **limits, on_alert=on_alert, clock_ms=clock_ms)
    finally:
        await pool.close()


@asynccontextmanager
async def _reclaiming(pool: Pool, leases: Leases, bootstrap: str) -> AsyncIterator[None]:
    reclaimer = Reclaimer(pool, lambda: ends_of_calls(bootstrap))
    looking = asyncio.create_task(reclaimer.run(leases.wanted), name="budgets of workers that are gone")
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def ends_of_calls(bootstrap: str) -> Mapping[int, int]:
    """connectors.postgres.reclaiming.Ends, over a connection that is closed again: it is needed only after a worker has died."""
    try:
        found = await extent(bootstrap, ROUTING_DECISIONS)
    except RuntimeFailed as error:
        raise StorageError(f"how far the log of model calls reaches cannot be told: {error}") from error
    return {partition: end for partition, (beginning, end) in found.items() if end > beginning}
