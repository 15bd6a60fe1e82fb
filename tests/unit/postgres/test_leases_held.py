"""A limit of which others hold the rest: it is not spent, and whoever needs it comes again."""

from __future__ import annotations

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
