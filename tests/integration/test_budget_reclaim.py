"""What killed workers held comes back by itself: not before the log was counted, and never more than they left."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import pytest

from agents.router.budget import ComposedBudget
from agents.router.limits import EVERYTHING, daily, monthly
from connectors.kafka.admin import create_topics
from connectors.postgres.leases import Leases
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.reclaiming import Reclaimer
from connectors.postgres.spending import Reconciled, used
from connectors.postgres.values import moment
from schemas.topics import ROUTING_DECISIONS, TOPICS
from streams.runtime import Outgoing, Publisher
from streams.runtime.extent import extent
from tests.integration.lease_worker import AT_MS, CENT, limit
from tests.integration.test_budget_leases import go, spent_by, start, use

pytestmark = pytest.mark.postgres
ROOM = ("--usd", "20", "--cents", "1", "--calls", "8")
_numbers = itertools.count(1)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=6)
    await migrate(pool)
    yield pool
    await pool.close()


class Log:
    """Kafka's topic of model calls and how far the projector is with it, in two numbers."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.end = pool, 0

    async def ends(self) -> Mapping[int, int]:
        return {0: self.end} if self.end else {}

    async def called(self, worker: str, cents: int, *, workflow: str = "w@1.0.0", at_ms: int = AT_MS) -> None:
        """A call that was told the log, and its row, which the projector has not confirmed yet."""
        self.end += 1
        await self.pool.execute(
            "INSERT INTO llm_routing_decisions (decision_id, occurred_at, conversation_id, run_id, node_id, execution_id, "
            "attempt, workflow, agent, requested_profile, provider, selected_model, success, input_text_tokens, "
            "cached_text_tokens, output_text_tokens, cost_micro_usd, latency_ms, worker) "
            "VALUES ($1, $2, 'c', 'r', 'n', 'e', 1, $3, 'a', 'fast', 'p', 'm', true, 1, 0, 1, $4, 1, $5)",
            f"{next(_numbers)}-{time.perf_counter_ns()}",
            moment(at_ms),
            workflow,
            cents * CENT,
            worker,
        )

    async def projected(self) -> None:
        await self.pool.execute(
            "INSERT INTO projection_offsets VALUES ('llm.routing-decisions', 0, $1, 1) "
            "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
            self.end,
        )


@pytest.fixture
def log(pool: Pool) -> Log:
    return Log(pool)


def reclaimer(pool: Pool, log: Log) -> Reclaimer:
    return Reclaimer(pool, log.ends, gone_seconds=0.0, look_seconds=0.02)


async def expire(pool: Pool, worker: str) -> None:
    await pool.execute("UPDATE budget_leases SET expires_at = now() - interval '1 s' WHERE holder LIKE $1 || '#%'", worker)


async def killed(database: str, calls: int) -> tuple[str, int]:
    """A worker that was killed while it spent: its name, and the cents it had spent."""
    doomed: Process = await start(database, *ROOM, "--lease-seconds", "0.5")
    go(doomed)
    assert doomed.stdout is not None
    for _ in range(calls):
        assert await doomed.stdout.readline() == b"spent\n"
    doomed.send_signal(signal.SIGKILL)
    return f"worker-{doomed.pid}", calls + await spent_by(doomed)


@pytest.mark.parametrize("calls", [1, 150, 1_111])
async def test_what_a_killed_worker_held_is_spent_by_others_to_the_last_cent_and_not_one_beyond(
    database: str, pool: Pool, log: Log, calls: int
):
    dead, by_the_dead = await killed(database, calls)
    held = (await use(pool)).held
    for _ in range(by_the_dead):
        await log.called(dead, 1)
    wanted = asyncio.Event()
    wanted.set()
    looking = asyncio.create_task(reclaimer(pool, log).run(wanted))
    await asyncio.sleep(1.2)
    assert (await use(pool)).held == held, "the projector has not counted what it spent"
    await log.projected()
    async with asyncio.timeout(20):
        while (await use(pool)).held:
            await asyncio.sleep(0.02)
    looking.cancel()
    assert (await use(pool)).spent == by_the_dead * CENT
    heir = await start(database, *ROOM)
    go(heir)
    assert by_the_dead + await spent_by(heir) == 2_000


async def test_workers_that_look_at_once_give_it_back_once(database: str, pool: Pool, log: Log):
    dead, by_the_dead = await killed(database, 100)
    for _ in range(by_the_dead):
        await log.called(dead, 1)
    await log.projected()
    await expire(pool, dead)
    told, held = (await use(pool)).spent, (await use(pool)).held
    several = [reclaimer(pool, log) for _ in range(4)]
    await asyncio.gather(*(each.look() for each in several))
    found = [each for freed in await asyncio.gather(*(each.look() for each in several)) for each in freed]
    untold = by_the_dead * CENT - told
    assert found == [Reconciled("workflow w", "2025-11-25", held - untold)]
    assert ((await use(pool)).spent, (await use(pool)).held) == (by_the_dead * CENT, 0)


async def test_the_living_keep_what_they_hold_and_what_they_spend_is_not_taken_for_the_deads(pool: Pool, log: Log):
    alive, dead = Leases(pool, "alive"), Leases(pool, "dead")
    for leases, cents in ((alive, 30), (dead, 30)):
        await ComposedBudget([leases.purse(limit())]).reserve(cents * CENT)
    for worker, cents in (("alive", 25), ("dead", 12)):
        await log.called(worker, cents)
    await log.projected()
    held = (await use(pool)).held
    await expire(pool, "dead")
    looks = reclaimer(pool, log)
    await looks.look()
    [freed] = await looks.look()
    dead_held = alive_held = 0
    for row in await pool.fetch("SELECT holder, held_micro_usd FROM budget_leases"):
        if row["holder"].startswith("alive"):
            alive_held = row["held_micro_usd"]
        else:
            dead_held = row["held_micro_usd"]
    assert dead_held == 0
    assert freed.freed == held - alive_held - 12 * CENT
    assert ((await use(pool)).spent, (await use(pool)).held) == (12 * CENT, alive_held)


async def test_a_worker_that_was_only_frozen_and_tells_later_is_not_booked_twice(pool: Pool, log: Log):
    frozen = Leases(pool, "frozen")
    reservation = await ComposedBudget([frozen.purse(limit())]).reserve(10 * CENT)
    await reservation.settle(10 * CENT)
    await log.called("frozen", 10)
    await log.projected()
    await expire(pool, "frozen")
    looks = reclaimer(pool, log)
    await looks.look()
    await looks.look()
    assert ((await use(pool)).spent, (await use(pool)).held) == (10 * CENT, 0)
    await frozen.renew()
    assert (await use(pool)).spent == 10 * CENT
    await frozen.close()
    assert ((await use(pool)).spent, (await use(pool)).held) == (10 * CENT, 0)


async def test_who_renews_between_two_looks_keeps_it(pool: Pool, log: Log):
    """As after a time without Postgres, when nobody could."""
    leases = Leases(pool, "alive")
    await ComposedBudget([leases.purse(limit())]).reserve(10 * CENT)
    await expire(pool, "alive")
    looks = reclaimer(pool, log)
    await looks.look()
    held = (await use(pool)).held
    await leases.renew()
    assert await looks.look() == []
    assert (await use(pool)).held == held


async def test_every_limit_it_held_of_is_given_back_by_what_counts_there(pool: Pool, log: Log):
    every = daily(EVERYTHING, AT_MS, Decimal(1), "HIL_DAILY_BUDGET")
    month = monthly("workflow w", AT_MS, Decimal(10), "cost_controls.monthly_budget")
    older = limit("2")  # another version of the workflow, on the same spending
    leases = Leases(pool, "dead")
    for each in (every, month, limit(), older):
        await ComposedBudget([leases.purse(each)]).reserve(20 * CENT)
    await log.called("dead", 7)
    await log.called("dead", 5, workflow="w2@1.0.0")
    await log.called("dead", 3, at_ms=AT_MS - 10 * 86_400_000)
    await log.projected()
    await expire(pool, "dead")
    looks = reclaimer(pool, log)
    await looks.look()
    await looks.look()
    assert {(each.scope, each.period): (each.spent, each.held) for each in await used(pool)} == {
        (EVERYTHING, "2025-11-25"): (12 * CENT, 0),
        ("workflow w", "2025-11"): (10 * CENT, 0),
        ("workflow w", "2025-11-25"): (7 * CENT, 0),
    }


async def test_leases_of_workers_whose_calls_do_not_name_them_stay_held(pool: Pool, log: Log):
    """From before this version: `hil budgets reconcile` counts for them all together."""
    leases = Leases(pool, "old")
    await ComposedBudget([leases.purse(limit())]).reserve(10 * CENT)
    await pool.execute("UPDATE budget_leases SET holder = replace(holder, '#', '/'), expires_at = now() - interval '1 s'")
    held = (await use(pool)).held
    looks = reclaimer(pool, log)
    assert [await looks.look(), await looks.look()] == [[], []]
    assert (await use(pool)).held == held > 0


async def test_while_nobody_is_gone_a_look_is_one_statement_and_kafka_is_not_asked(pool: Pool):
    async def ends() -> Mapping[int, int]:
        raise AssertionError("nobody is gone")

    leases = Leases(pool, "alive")
    await ComposedBudget([leases.purse(limit())]).reserve(10 * CENT)
    looks = Reclaimer(pool, ends, gone_seconds=0.0)
    assert [await looks.look(), await looks.look()] == [[], []]


async def test_nobody_looks_before_somebody_here_has_a_limit():
    """A worker without budgets asks nothing of a Postgres that may not be there."""

    class Absent:
        async def fetchval(self, *arguments: object) -> None:
            asked.set()

    asked, leases = asyncio.Event(), Leases(Absent(), "alive")  # type: ignore[arg-type]
    looking = asyncio.create_task(Reclaimer(Absent(), Log(None).ends).run(leases.wanted))  # type: ignore[arg-type]
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asked.is_set()
    leases.purse(limit())
    async with asyncio.timeout(5):
        await asked.wait()
    looking.cancel()


@pytest.mark.kafka
async def test_how_far_a_topic_reaches_is_known_by_partition(kafka_bootstrap: str, unique: str):
    topic = f"{unique}.calls"
    described = {topic: type(TOPICS[ROUTING_DECISIONS])(topic, (), retention_ms=60_000)}
    await create_topics(kafka_bootstrap, partitions=3, topics=described)
    async with Publisher(kafka_bootstrap) as publisher:
        await publisher.send([Outgoing(topic, b"k", b"v", partition=2) for _ in range(5)])
    assert await extent(kafka_bootstrap, topic) == {0: (0, 0), 1: (0, 0), 2: (0, 5)}
