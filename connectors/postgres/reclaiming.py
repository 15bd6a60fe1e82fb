"""Gives back what workers held that are gone, once the log says what they had spent of it. Every node worker looks after all.

A lease that nobody renews stays held, and so counts as spent, until two things are sure: its worker had time to renew it, and
every call it told the log has been projected. Then the log knows better than the lease (budget_reclaim in migration 0006).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.router.limits import dollars
from connectors.postgres.errors import StorageError, in_words
from connectors.postgres.leases import LEASE_SECONDS
from connectors.postgres.pool import Pool
from connectors.postgres.spending import Reconciled

log = logging.getLogger(__name__)

GONE_SECONDS = 120.0
"""After the end of a lease. Who is frozen for longer, in the midst of a call, may pay for it what others were given meanwhile."""

Ends = Callable[[], Awaitable[Mapping[int, int]]]
"""Partition of the topic of model calls → the offset after its last record; empty partitions left out. Raises StorageError."""

_GONE = "SELECT now() FROM budget_gone WHERE expired_at < now() - $1::interval LIMIT 1"
_PROJECTED = """
SELECT partition, next_offset FROM projection_offsets WHERE topic = 'llm.routing-decisions' ORDER BY partition FOR SHARE
"""
"""For share: no rebuild may empty the tables between the look at the positions and the counting."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    """Somebody was gone at this time by the database's clock, and the log reached so far afterwards."""

    at: datetime
    ends: Mapping[int, int]


class Reclaimer:
    """One a worker; several may look at once. `look_seconds`: between two looks, at least as long as a lease."""

    def __init__(
        self, pool: Pool, ends: Ends, *, gone_seconds: float = GONE_SECONDS, look_seconds: float = LEASE_SECONDS
    ) -> None:
        self._pool, self._ends = pool, ends
        self._gone, self._look_s = timedelta(seconds=gone_seconds), look_seconds
        self._sighting: _Sighting | None = None
        self._told = False

    async def look(self) -> list[Reconciled]:
        """See who is gone; at a later look, give back what they held. A statement, as long as nobody is.

        Raises StorageError.
        """
        with in_words("looking for budgets that nobody holds any more"):
            if self._sighting is None:
                at: datetime | None = await self._pool.fetchval(_GONE, self._gone)
                if at is not None:
                    self._sighting = _Sighting(at, await self._ends())
                return []
            freed = await self._reclaim(self._sighting)
        if freed is None:
            if not self._told:
                log.warning("budgets stay held by workers that are gone until the projector has caught up with the log")
            self._told = True
            return []
        self._sighting, self._told = None, False
        for each in freed:
            log.warning("%s of %s %s are free again: their worker is gone", dollars(each.freed), each.scope, each.period)
        return freed

    async def _reclaim(self, sighting: _Sighting) -> list[Reconciled] | None:
        """None: the log has not been counted far enough."""
        async with self._pool.acquire() as connection, connection.transaction():
            positions = {row["partition"]: row["next_offset"] for row in await connection.fetch(_PROJECTED)}
            if any(positions.get(partition, 0) < end for partition, end in sighting.ends.items()):
                return None
            rows = await connection.fetch("SELECT * FROM budget_reclaim($1)", sighting.at - self._gone)
            return [Reconciled(*row) for row in rows]

    async def run(self, wanted: asyncio.Event) -> None:
        """Look again and again, until cancelled, from when limits are `wanted` here: whom else would it serve?"""
        await wanted.wait()
        while True:
            try:
                await self.look()
            except StorageError as failure:
                log.warning("%s", failure)
            await asyncio.sleep(self._look_s)
