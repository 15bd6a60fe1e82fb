"""What a worker tells the others: each change of a model's or a key's state once, and budgets that all share."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from agents.router.health import Health
from agents.router.limits import EVERYTHING, BudgetAlert, Limit, daily, monthly
from schemas import topics
from schemas.codec import decode
from schemas.events import Alert, BudgetNoticed
from streams.app.announcing import Announcer
from streams.runtime import Outgoing
from tests.unit.router.worlds import fails, model

A = model("a")
NOW_MS = 1_764_072_000_000


class Outbox:
    """streams.runtime.Publisher, as far as it is needed."""

    def __init__(self) -> None:
        self.outs: list[Outgoing] = []

    def check(self, out: Outgoing) -> None: ...

    def publish(self, out: Outgoing) -> None:
        self.outs.append(out)

    def events(self, topic: str) -> list[Any]:
        return [decode(out.value, out.headers) for out in self.outs if out.topic == topic]

    @property
    def alerts(self) -> list[Alert]:
        return self.events(topics.ALERTS)


def announcer(outbox: Any, process: str = "p") -> Announcer:
    return Announcer(outbox, "w1", process, lambda: NOW_MS)


async def test_each_change_of_a_breaker_is_one_alert_and_calls_are_none():
    outbox, health = Outbox(), Health()
    with announcer(outbox).hearing(health, lambda: 0.0):
        for ticket in [health.enter(A, 0.0) for _ in range(500)]:
            ticket.failed(fails(), 1.0)
        health.enter(A, 61.0).failed(fails(), 62.0)
        health.enter(A, 130.0).succeeded(131.0)
        for _ in range(500):
            health.enter(A, 132.0).succeeded(132.0)
    told = [(each.name, each.kind, each.model, each.breaker, each.state) for each in outbox.alerts]
    states = [("open", "critical"), ("half_open", "warning"), ("open", "critical"), ("half_open", "warning"), ("closed", "ok")]
    assert told == [("breaker.a@w1", "breaker", "a", *state) for state in states]
    assert outbox.alerts[0].until_ms == NOW_MS + 60_000
    assert "http_500" in outbox.alerts[0].message
    times = [each.time_ms for each in outbox.alerts]
    assert times == sorted(set(times)), "the latest of two has the later time"
    assert len({each.id for each in outbox.alerts}) == 5


async def test_a_cool_down_is_an_alert_and_so_is_its_end_though_nobody_calls():
    outbox, health = Outbox(), Health()
    now = 0.0
    with announcer(outbox).hearing(health, lambda: now):
        health.enter(A, now).failed(fails("cool_down", "http_429", retry_after_s=0.01), now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now = 0.02
        async with asyncio.timeout(10):
            while len(outbox.alerts) < 2:
                await asyncio.sleep(0.01)
    assert [(each.breaker, each.state, each.until_ms) for each in outbox.alerts] == [
        ("cooling", "warning", NOW_MS + 10),
        ("closed", "ok", 0),
    ]


async def test_a_refused_key_is_an_alert_that_names_the_provider_and_not_the_key():
    outbox, health = Outbox(), Health()
    with announcer(outbox).hearing(health, lambda: 0.0):
        health.enter(A, 0.0).failed(fails("key_broken", "http_401", message="sk-secret was refused"), 0.0)
    first = outbox.alerts[0]
    assert (first.name, first.kind, first.provider, first.model) == ("key.openai/a@w1", "key", "openai", "a")
    assert all("sk-secret" not in each.message for each in outbox.alerts)


async def test_a_worker_that_ends_takes_back_what_it_said():
    outbox, health = Outbox(), Health()
    with announcer(outbox).hearing(health, lambda: 0.0):
        for _ in range(5):
            health.enter(A, 0.0).failed(fails(), 0.0)
    assert [(each.breaker, each.state) for each in outbox.alerts] == [("open", "critical"), ("closed", "ok")]
    assert "its worker has ended" in outbox.alerts[-1].message


def noticed(limit: Limit, process: str = "p") -> list[BudgetNoticed]:
    outbox = Outbox()
    announcer(outbox, process).budget(BudgetAlert.of(limit, "alert", 800_000))
    assert outbox.alerts == [], "the ledger makes the alert"
    return outbox.events(topics.BUDGET_NOTICES)


def test_a_shared_budget_is_noticed_and_a_conversations_own_is_not():
    (of_workflow,) = noticed(daily("workflow w", NOW_MS, Decimal(1), "cost_controls.daily_budget"))
    assert (of_workflow.workflow, of_workflow.period, of_workflow.level) == ("w", "daily", "alert")
    assert (of_workflow.spent_micro_usd, of_workflow.limit_micro_usd) == (800_000, 1_000_000)
    (of_all,) = noticed(monthly(EVERYTHING, NOW_MS, Decimal(1), "HIL_MONTHLY_BUDGET"))
    assert (of_all.workflow, of_all.period) == ("", "monthly")
    assert noticed(Limit("conversation c", "conversation", 1_000_000, "cost_controls.max_cost_per_conversation")) == []


def test_each_worker_notices_under_an_id_of_its_own():
    limit = daily("workflow w", NOW_MS, Decimal(1), "cost_controls.daily_budget")
    assert noticed(limit, "p")[0].id != noticed(limit, "q")[0].id
    assert noticed(limit, "p")[0].id == noticed(limit, "p")[0].id
