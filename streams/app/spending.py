"""What node workers may spend: their leases of the limits that all share, and whom to tell when one is nearly reached."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents.router.allowances import Allowances
from agents.router.limits import BudgetAlert
from agents.router.purse import OnAlert
from connectors.cli.ports import CannotGoOn
from connectors.postgres.leases import open_leases
from connectors.postgres.pool import open_pool
from connectors.settings import Settings
from streams.app.announcing import process_name

log = logging.getLogger(__name__)
CONNECTIONS = 2


@asynccontextmanager
async def open_allowances(settings: Settings, announce: OnAlert) -> AsyncIterator[Allowances]:
    """One for all nodes of a process. Postgres is first asked when a workflow or a setting has a daily or monthly budget.

    `announce`: tells others what is in this process's log as well.
    """

    def on_alert(alert: BudgetAlert) -> None:
        log.warning("%s", alert)
        announce(alert)

    if settings.database_url is None:
        if settings.daily_budget is not None or settings.monthly_budget is not None:
            raise CannotGoOn("HIL_DAILY_BUDGET and HIL_MONTHLY_BUDGET are kept in Postgres: set HIL_DATABASE_URL as well")
        yield Allowances(on_alert=on_alert)
        return
    pool = await open_pool(settings.database_url, min_size=0, max_size=CONNECTIONS)
    try:
        async with open_leases(pool, process_name(settings), on_alert=on_alert) as leases:
            yield Allowances(leases, daily_usd=settings.daily_budget, monthly_usd=settings.monthly_budget, on_alert=on_alert)
    finally:
        await pool.close()
