"""From what workers find out to what everybody acts on, over a real broker: budgets said once, agents replaced and taken back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from agents.registry import Registry
from agents.router.budget import ComposedBudget
from agents.router.limits import EVERYTHING, Limit, daily
from connectors.postgres.leases import Leases
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from schemas import topics
from schemas.base import Event
from schemas.codec import decode
from schemas.events import AgentHealth, Alert, BudgetNoticed, NodeFinished
from streams.app.agenthealth import HealthWatch
from streams.app.announcing import Announcer
from streams.ledger.overseer import Overseer, limits_of_all
from streams.ledger.standing import Limits
from streams.runtime import Outgoing, Publisher
from tests.integration import ledger_world as world
from tests.support.ledger_worker import renamed
from tests.support.steps import FakeStep
from tests.unit.processors.test_node_health import finished, registry, run
from tests.unit.processors.test_nodes import definitions

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
CENT = 10_000
DAY_MS = 86_400_000


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=6)
    await migrate(pool)
    yield pool
    await pool.close()


def now() -> int:
    return time.time_ns() // 1_000_000


class Apart:
    """A publisher whose records go to this test's own topics."""

    def __init__(self, publisher: Publisher, names: dict[str, str]) -> None:
        self._publisher, self._names = publisher, names

    def check(self, out: Outgoing) -> None:
        self._publisher.check(out)

    def publish(self, out: Outgoing) -> None:
        self._publisher.publish(replace(out, topic=self._names[out.topic]))


@asynccontextmanager
async def overseeing(bootstrap: str, prefix: str, limits: Sequence[Limits], clock_ms: Callable[[], int]) -> AsyncIterator[None]:
    async with Publisher(bootstrap) as publisher:
        overseer = Overseer(
            bootstrap,
            publisher,
            acts=lambda: True,
            limits=lambda: limits,
            clock_ms=clock_ms,
            every_s=0.2,
            budgets_every_s=0.05,
            names=renamed(prefix),
        )
        running = asyncio.create_task(overseer.run())
        try:
            yield
        finally:
            await overseer.stop()
            await running


async def told(bootstrap: str, prefix: str, topic: str) -> list[Any]:
    return [decode(each.value, each.headers) for each in await world.everything(bootstrap, renamed(prefix)[topic])]


async def until(bootstrap: str, prefix: str, topic: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
    async with asyncio.timeout(world.PATIENCE_S):
        while not enough(found := await told(bootstrap, prefix, topic)):
            await asyncio.sleep(0.1)
    return found


async def looked_at(bootstrap: str, prefix: str, events: Sequence[Event], agent: str) -> None:
    """Returns once the ledger has counted these events, one of them of `agent`, and the overseer has looked at all of it."""
    await world.send(bootstrap, prefix, events)
    async with world.counting(bootstrap, prefix):
        await world.caught_up(bootstrap, prefix)
    await until(bootstrap, prefix, topics.AGENT_HEALTH, lambda said: any(each.agent == agent for each in said))


async def spend(leases: Leases, limit: Limit, cents: int) -> None:
    reservation = await ComposedBudget([leases.purse(limit)]).reserve(cents * CENT)
    await reservation.settle(cents * CENT)


async def test_five_workers_that_notice_two_budgets_are_two_alerts_and_the_ledgers_own_count_adds_none(
    kafka_bootstrap: str, unique: str, pool: Pool
):
    await world.create(kafka_bootstrap, unique)
    at_ms = now()
    of_one = daily("workflow support", at_ms, Decimal(1), "cost_controls.daily_budget")
    of_all = daily(EVERYTHING, at_ms, Decimal(1), "HIL_DAILY_BUDGET")
    limits = [Limits("support", daily_micro_usd=100 * CENT), *limits_of_all(Decimal(1), None)]
    async with Publisher(kafka_bootstrap) as publisher:
        apart: Any = Apart(publisher, renamed(unique))
        for number in range(5):
            announcer = Announcer(apart, f"w{number}", f"p{number}", now)
            leases = Leases(pool, f"w{number}", on_alert=announcer.budget, dry_seconds=0.0)
            for limit in (of_one, of_all):
                await spend(leases, limit, 81 if number == 0 else 1)
            await leases.close()
        await publisher.flush()
    notices = await told(kafka_bootstrap, unique, topics.BUDGET_NOTICES)
    assert len({each.id for each in notices}) == 10, "each worker notices each budget"
    async with overseeing(kafka_bootstrap, unique, limits, lambda: at_ms):
        await until(kafka_bootstrap, unique, topics.ALERTS, lambda said: len(said) >= 2)
        calls = [world.call(number, at_ms=at_ms, time_ms=at_ms, cost_micro_usd=CENT) for number in range(85)]
        await looked_at(kafka_bootstrap, unique, [*calls, world.ended(1, agent="one", time_ms=at_ms)], "one")
    async with overseeing(kafka_bootstrap, unique, limits, lambda: at_ms):  # another worker's, after the first has gone
        await looked_at(kafka_bootstrap, unique, [world.ended(2, agent="two", time_ms=at_ms)], "two")
    alerts = await told(kafka_bootstrap, unique, topics.ALERTS)
    assert sorted((each.name, each.state) for each in alerts) == [
        ("budget.daily", "warning"),
        ("budget.daily.support", "warning"),
    ]


async def test_a_budget_that_refuses_calls_is_critical_and_ok_on_the_next_day(kafka_bootstrap: str, unique: str, pool: Pool):
    await world.create(kafka_bootstrap, unique)
    at_ms = now()
    limit = daily("workflow support", at_ms, Decimal(1), "cost_controls.daily_budget")
    async with Publisher(kafka_bootstrap) as publisher:
        apart: Any = Apart(publisher, renamed(unique))
        leases = Leases(pool, "w", on_alert=Announcer(apart, "w", "p", now).budget, dry_seconds=0.0)
        await spend(leases, limit, 97)
        with pytest.raises(Exception, match="leaves too little for this call"):
            await spend(leases, limit, 5)
        await publisher.flush()
    assert [each.level for each in await told(kafka_bootstrap, unique, topics.BUDGET_NOTICES)] == ["alert", "exhausted"]
    today = [at_ms]
    async with overseeing(kafka_bootstrap, unique, [Limits("support", daily_micro_usd=100 * CENT)], lambda: today[0]):
        (alert,) = await until(kafka_bootstrap, unique, topics.ALERTS, lambda said: len(said) >= 1)
        assert (alert.state, alert.spent_micro_usd) == ("critical", 97 * CENT)
        today[0] += DAY_MS
        await until(kafka_bootstrap, unique, topics.ALERTS, lambda said: len(said) >= 2)
    assert [each.state for each in await told(kafka_bootstrap, unique, topics.ALERTS)] == ["critical", "ok"]


async def test_an_agent_that_fails_is_replaced_and_works_again_a_day_later_by_itself(kafka_bootstrap: str, unique: str):
    """The whole circle: failures → ledger → agent.health → node worker → another agent → its books → ledger."""
    await world.create(kafka_bootstrap, unique)
    known, agents, clock = definitions(), registry(), [now()]
    watch = HealthWatch(kafka_bootstrap, agents, lambda line: None, topic=renamed(unique)[topics.AGENT_HEALTH])
    await watch.start()
    watching = asyncio.create_task(watch.run())

    async def ended(number: int) -> NodeFinished:
        """One more node that asks for `a`: who worked on it, as the audit says."""
        completion = (await run(known, agents, FakeStep()))[1]
        return finished(completion, known).model_copy(update={"id": f"{unique}-{number}", "time_ms": clock[0]})

    try:
        assert (await ended(0)).agent == "a"
        failed = [world.ended(number, mark=unique, time_ms=clock[0], status="failed") for number in range(12)]
        blameless = [world.ended(number, mark=f"{unique}x", agent="b", fault="models", status="failed") for number in range(90)]
        blameless = [event.model_copy(update={"time_ms": clock[0]}) for event in blameless]
        await world.send(kafka_bootstrap, unique, [*failed, *blameless])
        async with (
            world.counting(kafka_bootstrap, unique),
            overseeing(kafka_bootstrap, unique, [], lambda: clock[0]),
            asyncio.timeout(world.PATIENCE_S),
        ):
            await world.caught_up(kafka_bootstrap, unique)
            while agents.get("a").is_healthy:
                await asyncio.sleep(0.05)
            assert agents.get("b").is_healthy, "an outage of the models is nobody's fault"
            by_another = [await ended(number) for number in range(1, 20)]
            assert {(each.agent, each.agent_type) for each in by_another} == {("b", "reasoning")}
            await world.send(kafka_bootstrap, unique, by_another)
            await world.caught_up(kafka_bootstrap, unique)
            while not any(each.agent == "b" and each.executions == 19 for each in await said_of_agents(kafka_bootstrap, unique)):
                await asyncio.sleep(0.1)
            assert not agents.get("a").is_healthy, "another's work does not heal it"
            clock[0] += DAY_MS
            while not agents.get("a").is_healthy:
                await asyncio.sleep(0.05)
        assert (await ended(99)).agent == "a"
    finally:
        await watch.stop()
        await watching
    alerts = [each for each in await told(kafka_bootstrap, unique, topics.ALERTS) if isinstance(each, Alert)]
    assert [(each.name, each.state) for each in alerts] == [("agent_health.a", "critical"), ("agent_health.a", "ok")]


async def said_of_agents(bootstrap: str, prefix: str) -> list[Any]:
    return await told(bootstrap, prefix, topics.AGENT_HEALTH)


async def test_what_is_no_word_about_an_agent_is_passed_over(kafka_bootstrap: str, unique: str):
    await world.create(kafka_bootstrap, unique)
    topic = renamed(unique)[topics.AGENT_HEALTH]
    notice = BudgetNoticed(
        id="x",
        time_ms=1,
        conversation_id="",
        period="daily",
        period_start_ms=0,
        level="alert",
        spent_micro_usd=1,
        limit_micro_usd=1,
    )
    stray = world.record_of(unique, notice)
    unknown = world.record_of(unique, sick("somebody-elses"))
    async with Publisher(kafka_bootstrap) as publisher:
        await publisher.send(
            [Outgoing(topic, b"a", b"garbage"), replace(stray, topic=topic), unknown, Outgoing(topic, b"b", None)]
        )
        await publisher.send([world.record_of(unique, sick("a"))])
    reported: list[str] = []
    agents: Registry = registry()
    watch = HealthWatch(kafka_bootstrap, agents, reported.append, topic=topic)
    await watch.start()
    await watch.stop()
    assert (agents.get("a").is_healthy, agents.get("a").error_rate, agents.get("b").is_healthy) == (False, 0.6, True)
    assert [line.partition(":")[0].split(" ")[0:2] for line in reported] == [["passing", "over"]] * 2


def sick(agent: str) -> AgentHealth:
    return AgentHealth(
        id=agent,
        time_ms=1,
        conversation_id="",
        agent=agent,
        healthy=False,
        executions=20,
        failures=12,
        window_ms=DAY_MS,
        since_ms=1,
        reason="12 of 20",
    )
