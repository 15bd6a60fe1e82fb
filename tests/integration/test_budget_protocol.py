"""Workers and Postgres in random steps: lost answers, workers that vanish, clocks that run on, books that are reconciled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from agents.errors import Retryable
from agents.router.budget import ComposedBudget, OverBudget, Reservation
from connectors.postgres.leases import Leases
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.spending import reconcile, used
from tests.integration.lease_worker import CENT, limit

pytestmark = pytest.mark.postgres
STEPS = 250


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=4)
    await migrate(pool)
    yield pool
    await pool.close()


class Unreliable:
    """A pool whose next statement may fail before it takes effect, or after."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.fails = pool, ""

    async def fetch(self, *arguments: Any, **more: Any) -> Any:
        fails, self.fails = self.fails, ""
        if fails == "before":
            raise ConnectionResetError
        answer = await self.pool.fetch(*arguments, **more)
        if fails == "after":
            raise ConnectionResetError
        return answer


class Worker:
    def __init__(self, pool: Pool, name: str, usd: str) -> None:
        self.now = 0.0
        self.pool = Unreliable(pool)
        self.leases = Leases(self.pool, name, clock=lambda: self.now, dry_seconds=0.0)  # type: ignore[arg-type]
        self.purse = self.leases.purse(limit(usd))
        self.budget = ComposedBudget([self.purse])
        self.open: list[tuple[int, Reservation]] = []
        self.spent = 0

    async def step(self, random: Random) -> None:
        """Something a worker does."""
        self.pool.fails = random.choice(("", "", "", "", "before", "after"))
        match random.choice(("reserve", "reserve", "reserve", "settle", "settle", "release", "renew", "close", "wait")):
            case "reserve":
                amount = random.choice((1, 5, 20)) * CENT
                self.open.append((amount, await self.budget.reserve(amount)))
            case "settle" if self.open:
                amount, reservation = self.open.pop(random.randrange(len(self.open)))
                actual = random.choice((amount, amount, amount // 2))
                self.spent += actual
                await reservation.settle(actual)
            case "release" if self.open:
                await self.open.pop(random.randrange(len(self.open)))[1].release()
            case "renew":
                await self.leases.renew()
            case "close":
                await self.leases.close()
            case "wait":
                self.now += random.choice((1, 40))


@pytest.mark.parametrize("seed", range(12))
async def test_in_no_order_of_things_is_more_spent_than_the_limit(pool: Pool, seed: int):
    random = Random(seed)
    usd = random.choice(("1", "3", "50"))
    workers = [Worker(pool, f"w{number}", usd) for number in range(3)]
    by_the_dead = born = 0
    for _ in range(STEPS):
        at = random.randrange(len(workers))
        if random.random() < 0.04:  # it is killed, with what it has in flight, and another one takes its place
            by_the_dead += workers[at].spent
            workers[at] = Worker(pool, f"w{at}-{(born := born + 1)}", usd)
        elif random.random() < 0.04:
            names = [f"{worker.leases._holder}#{worker.purse.limit.micro_usd}" for worker in workers]
            await pool.execute("UPDATE budget_leases SET expires_at = now() - interval '1 s' WHERE holder <> ALL ($1)", names)
            total = by_the_dead + sum(worker.spent for worker in workers)
            await reconcile(pool, "workflow w", "2025-11-25", total, until_ms=2**42)
        else:
            with contextlib.suppress(OverBudget, Retryable):
                await workers[at].step(random)
        for row in await used(pool):
            assert row.spent + row.held <= row.limit
        in_flight = sum(worker.purse.reserved for worker in workers)
        assert by_the_dead + sum(worker.spent for worker in workers) + in_flight <= limit(usd).micro_usd
    for worker in workers:
        worker.pool.fails = ""
        worker.budget.close()
        worker.spent = worker.purse.spent
        await worker.leases.close()
    [row] = await used(pool)
    assert row.spent + row.held >= by_the_dead + sum(worker.spent for worker in workers), "nothing was forgotten"
