"""Who is refused, and until when: while others hold the rest of a limit, and while Postgres is being asked for more."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from agents.router.budget import ComposedBudget, OverBudget
from agents.router.limits import EVERYTHING, daily
from connectors.postgres.leases import Leases
from tests.unit.router.test_router import CONTEXT, World, says

LIMIT = daily(EVERYTHING, 0, Decimal(1), "HIL_DAILY_BUDGET")


class Books:
    """Postgres, as far as leases ask it: nothing is free."""

    def __init__(self, spent_by_all: int) -> None:
        self.spent_by_all, self.asked = spent_by_all, 0

    async def fetch(self, *_: object, **__: object) -> list[dict[str, int]]:
        self.asked += 1
        return [{"at": 1, "held": 0, "spent_by_all": self.spent_by_all}]


@pytest.mark.parametrize(("spent", "held"), [(600_000, True), (1_000_000, False)])
async def test_calls_are_refused_for_good_only_when_the_limit_is_spent(spent, held):
    """Also within the time in which Postgres is not asked again. A worker that was killed holds its part for minutes."""
    books, world = Books(spent), World()
    budget = ComposedBudget([Leases(books, "w", clock=lambda: 7.0).purse(LIMIT)])
    model = world.router().bound(CONTEXT)
    with pytest.raises(OverBudget) as first:
        await model.complete(says("Hello", budget=budget))
    assert first.value.held is held
    asked = books.asked
    with pytest.raises(Exception, match="budget") as second:
        await model.complete(says("Hello", budget=budget))
    assert getattr(second.value, "held", False) is held
    assert (second.value.fault, books.asked) == ("budget", asked)


async def test_who_comes_while_postgres_is_asked_for_others_is_not_refused_for_them():
    """A burst of calls at a worker that holds nothing yet, against a limit that has room for all."""
    answering = asyncio.Event()

    class Grants:
        async def fetch(self, _: str, *columns: list[int], **__: object) -> list[dict[str, int]]:
            reserved, needed = columns[5][0], columns[6][0]
            await answering.wait()
            return [{"at": 1, "held": reserved + needed, "spent_by_all": 0}]

    purse = Leases(Grants(), "w", clock=lambda: 7.0).purse(LIMIT)
    first = asyncio.create_task(purse.take(50_000))
    await asyncio.sleep(0)
    later = [asyncio.create_task(purse.take(50_000)) for _ in range(3)]
    await asyncio.sleep(0)
    answering.set()
    await asyncio.gather(first, *later)
    assert purse.reserved == 200_000
