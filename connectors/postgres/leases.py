"""Parts of shared limits, taken from Postgres in chunks and spent here: one statement a chunk, not one a call.

The limit holds whatever happens to a worker. What it may spend without asking is held in Postgres before it is spent, and stays
held when the worker dies, until the log has been counted (connectors.postgres.spending). So a worker that was frozen and wakes
up may spend on.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import asyncpg

from agents.errors import Retryable
from agents.router.limits import Limit
from agents.router.purse import LocalPurse, OnAlert, Tightness
from connectors.postgres.errors import GONE, StorageError, in_words
from connectors.postgres.pool import Pool

log = logging.getLogger(__name__)

LEASE_SECONDS = 30.0
RENEWALS = 3
"""In the time of a lease."""
DRY_SECONDS = 0.5
"""How long a limit that had nothing left is not asked again."""
STATEMENT_SECONDS = 5.0
GONE_BY = -math.inf
"""Over, whatever the clock says: on a machine that has just started, zero is not."""
_EXCHANGE = """
SELECT a.at, e.held, e.spent_by_all
FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
                           $9::bool[])
      WITH ORDINALITY AS u (holder, scope, period, limit_, spent, reserved, needed, least_, spare, at)
      ORDER BY scope, period, holder) AS a,
     LATERAL budget_exchange(a.holder, a.scope, a.period, a.limit_, a.spent, a.reserved, a.needed, a.least_, a.spare, $10) AS e
"""

_TIDY = "DELETE FROM budget_leases WHERE expires_at < now() - interval '100 days'"
"""Their periods are long over."""


class LeasedPurse(LocalPurse):
    """This worker's part of one limit in one period. `granted` counts from when the worker started."""

    __slots__ = ("_leases", "dry_until", "good_until", "least", "lock", "needed", "seen")

    def __init__(self, limit: Limit, leases: Leases, on_alert: OnAlert) -> None:
        super().__init__(limit, 0, on_alert=on_alert)
        self._leases = leases
        self.needed = 0
        """What those who wait here ask for."""
        self.least = 0
        """What the one who asks now needs at least; 0 when nobody does."""
        self.lock = asyncio.Lock()
        self.good_until = GONE_BY
        """By the clock of `leases`. GONE_BY: an exchange is under way, or its end is unknown; nothing may be taken."""
        self.dry_until = GONE_BY
        self.seen = (0, 0)
        """Spent and reserved at the last renewal: an unchanged lease is given back."""

    @property
    def idle(self) -> bool:
        return self.seen == (self.spent, 0) and not self.reserved and not self.needed

    def try_take(self, micro_usd: int) -> bool:
        if micro_usd and (micro_usd > self.granted - self.spent - self.reserved or self._leases.clock() >= self.good_until):
            return False
        self.reserved += micro_usd
        return True

    async def take(self, micro_usd: int) -> None:
        self.needed += micro_usd
        try:
            async with self.lock:
                if self.short_of(micro_usd):
                    await self._ask(micro_usd)
        finally:
            self.needed -= micro_usd
        if not self.try_take(micro_usd):
            raise self.refused(micro_usd)

    def short_of(self, micro_usd: int) -> bool:
        """Whether it must be asked for, and may be there."""
        now = self._leases.clock()
        return now >= self.good_until or (micro_usd > self.free and now >= self.dry_until)

    async def _ask(self, micro_usd: int) -> None:
        """For all who wait, of whom this one is first. Who comes while Postgres answers was not asked for: it asks for itself."""
        self.least, asked = micro_usd, self.needed
        try:
            await self._leases.exchange([self], [True])
        finally:
            self.least = 0
        if self.free < asked:
            self.dry_until = self._leases.clock() + self._leases.dry_seconds

    def tightness(self) -> Tightness:
        """What others hold may become free: as long as it is not spent, whoever asks hears of it from `refused`."""
        if self.total >= self.limit.micro_usd:
            return "exhausted"
        dry = self.free <= 0 and self._leases.clock() < self.dry_until
        return "alert" if dry or self.total >= self.limit.alert_at else "ok"


class Leases:
    """All leases of one worker (agents.router.allowances.SharedPurses)."""

    def __init__(
        self,
        pool: Pool,
        holder: str,
        *,
        on_alert: OnAlert = lambda alert: None,
        seconds: float = LEASE_SECONDS,
        dry_seconds: float = DRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holder`: a name no other worker has or ever had, and the same worker has once."""
        self.clock, self.dry_seconds = clock, dry_seconds
        self._pool, self._holder, self._on_alert, self._seconds = pool, holder, on_alert, seconds
        self._purses: dict[tuple[str, str, int], LeasedPurse] = {}
        self.wanted = asyncio.Event()
        """Set once somebody has a limit: before that, nothing is asked of Postgres."""
        self._tidied = False

    def purse(self, limit: Limit) -> LeasedPurse:
        """The one purse of this limit here. Versions of a workflow may have other limits on the same spending."""
        key = (limit.scope, limit.period, limit.micro_usd)
        purse = self._purses.get(key)
        if purse is None:
            purse = self._purses[key] = LeasedPurse(limit, self, self._on_alert)
            self.wanted.set()
        return purse

    async def exchange(self, purses: Sequence[LeasedPurse], keeps: Sequence[bool]) -> None:
        """Tell and ask, for purses whose locks the caller holds. `keeps`: hold more than is reserved? Raises Retryable.

        What is kept without asking for more never shrinks, so after a failure it may still be spent. Anything else may be gone.
        """
        began = self.clock()
        before = [purse.good_until for purse in purses]
        told = [purse.spent for purse in purses]
        rows = [
            (
                f"{self._holder}#{purse.limit.micro_usd}",
                purse.limit.scope,
                purse.limit.period,
                purse.limit.micro_usd,
                purse.spent,
                purse.reserved,
                purse.needed,
                purse.least,
                keep,
            )
            for purse, keep in zip(purses, keeps, strict=True)
        ]
        for purse in purses:
            purse.good_until = GONE_BY
        try:
            answers = await self._pool.fetch(
                _EXCHANGE, *map(list, zip(*rows, strict=True)), self._seconds, timeout=STATEMENT_SECONDS
            )
        except BaseException as error:
            for purse, keep, until in zip(purses, keeps, before, strict=True):
                purse.good_until = until if keep and not purse.least else GONE_BY
            if isinstance(error, (*GONE, asyncpg.PostgresError)):
                away = Retryable(
                    f"the budgets cannot be asked whether this call may be made: Postgres says {error!r}. "
                    "Look whether it is up and migrated"
                )
                away.fault = "budget"
                raise away from error
            raise
        for answer in answers:
            at = answer["at"] - 1
            purse = purses[at]
            purse.granted = told[at] + answer["held"]
            purse.others = answer["spent_by_all"] - told[at]
            purse.good_until = began + self._seconds
            purse.look()

    async def renew(self) -> None:
        """Tell what was spent, keep what is used, give back what is not."""
        await self._all([purse for purse in self._purses.values() if purse.granted > purse.spent or not purse.idle], spare=True)

    async def close(self) -> None:
        """Give everything back but what calls in flight have reserved: nobody will tell any more what they come to."""
        await self._all([purse for purse in self._purses.values() if purse.good_until != GONE_BY or purse.spent], spare=False)

    async def _all(self, purses: Sequence[LeasedPurse], *, spare: bool) -> None:
        if not purses:
            return
        async with AsyncExitStack() as locks:
            for purse in purses:
                await locks.enter_async_context(purse.lock)
            await self.exchange(purses, [spare and not purse.idle for purse in purses])
            for purse in purses:
                purse.seen = (purse.spent, purse.reserved)

    async def run(self) -> None:
        """Renew until cancelled. Asks Postgres nothing as long as nobody has a limit."""
        while True:
            await asyncio.sleep(self._seconds / RENEWALS)
            try:
                await self.renew()
                if self._purses and not self._tidied:
                    with in_words("tidying budgets"):
                        await self._pool.execute(_TIDY)
                    self._tidied = True
            except (Retryable, StorageError) as failure:
                log.warning("%s", failure)


@asynccontextmanager
async def open_leases(pool: Pool, holder: str, *, on_alert: OnAlert = lambda alert: None) -> AsyncIterator[Leases]:
    """Leases that are kept while inside, and given back at the end."""
    leases = Leases(pool, holder, on_alert=on_alert)
    renewing = asyncio.create_task(leases.run(), name="budget leases")
    try:
        yield leases
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        try:
            await leases.close()
        except Retryable as failure:
            log.warning("leases of budgets stay held until they are reconciled: %s", failure)
