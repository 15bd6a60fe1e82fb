"""Shared limits on a real Postgres: never exceeded, by several workers, when they die, freeze, or lose the database."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from agents.errors import Retryable
from agents.router.budget import ComposedBudget, OverBudget
from agents.router.limits import BudgetAlert, Limit, daily, monthly
from connectors.postgres.leases import Leases, open_leases
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.spending import Use, reconcile, used
from tests.integration.lease_worker import AT_MS, CENT, limit

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).parents[2]
DOLLAR = 100 * CENT


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=6)
    await migrate(pool)
    yield pool
    await pool.close()


class Clock:
    """Time for leases that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def worker(pool: Pool, name: str, clock: Clock | None = None, **more: object) -> Leases:
    return Leases(pool, name, clock=clock or Clock(), dry_seconds=0.0, **more)  # type: ignore[arg-type]


async def spend(leases: Leases, cents: int, of: Limit | None = None) -> None:
    reservation = await ComposedBudget([leases.purse(of or limit())]).reserve(cents * CENT)
    await reservation.settle(cents * CENT)


async def use(pool: Pool) -> Use:
    [row] = await used(pool)
    return row


async def start(url: str, *arguments: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.lease_worker", url, *arguments, stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


def go(*processes: Process) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")


async def spent_by(process: Process) -> int:
    """Cents, once it has ended."""
    out, _ = await process.communicate()
    return out.count(b"spent\n")


async def test_fifty_calls_of_five_cents_at_once_from_three_processes_spend_one_dollar(database: str, pool: Pool):
    workers = [await start(database, "--calls", str(calls), "--once") for calls in (17, 17, 16)]
    go(*workers)
    calls = sum(await asyncio.gather(*map(spent_by, workers)))
    assert calls == 20
    assert (await use(pool)).spent == DOLLAR
    assert (await use(pool)).held == 0


@pytest.mark.parametrize("calls", [1, 150, 1_111])
async def test_a_worker_killed_while_it_spends_takes_nothing_beyond_the_limit_with_it(database: str, pool: Pool, calls: int):
    """What it spent is forgotten by nobody: its lease stays held, and the log says what it came to."""
    small = ("--usd", "20", "--cents", "1", "--calls", "8")
    doomed = await start(database, *small)
    go(doomed)
    assert doomed.stdout is not None
    for _ in range(calls):
        assert await doomed.stdout.readline() == b"spent\n"
    doomed.kill()
    by_the_dead = calls + await spent_by(doomed)
    told = (await use(pool)).spent
    assert told <= by_the_dead * CENT <= told + (await use(pool)).held
    heir = await start(database, *small, "--refusals", "50")
    go(heir)
    by_the_heir = await spent_by(heir)
    assert by_the_dead + by_the_heir <= 2_000
    assert (await use(pool)).spent + (await use(pool)).held == 20 * DOLLAR, "what the dead one held is not spent by others"
    await pool.execute("UPDATE budget_leases SET expires_at = now() - interval '1 second'")
    left = 2_000 - by_the_dead - by_the_heir
    assert await reconcile(pool, "workflow w", "2025-11-25", (by_the_dead + by_the_heir) * CENT, until_ms=2**42) == left * CENT
    assert (await use(pool)).spent == (by_the_dead + by_the_heir) * CENT
    last = await start(database, *small)
    go(last)
    assert await spent_by(last) == left


async def test_a_worker_that_was_frozen_past_its_lease_spends_nothing_beyond_the_limit(database: str, pool: Pool):
    quick = ("--usd", "3", "--cents", "1", "--calls", "4", "--lease-seconds", "0.6")
    frozen = await start(database, *quick)
    go(frozen)
    assert frozen.stdout is not None
    for _ in range(20):
        await frozen.stdout.readline()
    frozen.send_signal(signal.SIGSTOP)
    other = await start(database, *quick)
    go(other)
    while not any(row.held_by_expired for row in await used(pool)):
        await asyncio.sleep(0.1)
    frozen.send_signal(signal.SIGCONT)
    by_both = 20 + sum(await asyncio.gather(spent_by(frozen), spent_by(other)))
    assert by_both <= 300
    assert (await use(pool)).spent == by_both * CENT
    assert by_both == 300, "the frozen one gave back what it held, and it was spent"


async def test_one_statement_serves_many_calls(pool: Pool):
    leases = worker(pool, "a")
    exchanges = 0
    exchange = leases.exchange

    async def counted(*arguments: object) -> None:
        nonlocal exchanges
        exchanges += 1
        await exchange(*arguments)  # type: ignore[arg-type]

    leases.exchange = counted  # type: ignore[method-assign]
    for _ in range(1_000):
        await spend(leases, 1, limit("1000"))
    assert exchanges == 1


async def test_what_a_worker_does_not_use_is_given_back_at_its_second_renewal(pool: Pool):
    leases = worker(pool, "a")
    await spend(leases, 5, limit("100"))
    await leases.renew()
    assert (await use(pool)).held > 0
    await leases.renew()
    assert ((await use(pool)).spent, (await use(pool)).held) == (5 * CENT, 0)
    await spend(leases, 5, limit("100"))
    await leases.close()
    assert ((await use(pool)).spent, (await use(pool)).held) == (10 * CENT, 0)


async def test_what_is_in_flight_stays_held_when_a_worker_ends(pool: Pool):
    leases = worker(pool, "a")
    await ComposedBudget([leases.purse(limit())]).reserve(30 * CENT)
    await leases.close()
    assert ((await use(pool)).spent, (await use(pool)).held) == (0, 30 * CENT)


async def test_a_failed_call_gives_back_what_was_reserved_for_it(pool: Pool):
    one, two = worker(pool, "a"), worker(pool, "b")
    reservation = await ComposedBudget([one.purse(limit())]).reserve(DOLLAR)
    with pytest.raises(OverBudget) as refused:
        await spend(two, 100)
    assert refused.value.held, "it may become free"
    await reservation.release()
    await one.close()
    await spend(two, 100)


async def test_a_call_that_came_to_more_than_was_reserved_is_counted_in_full(pool: Pool):
    one, two = worker(pool, "a"), worker(pool, "b")
    reservation = await ComposedBudget([one.purse(limit())]).reserve(CENT)
    await reservation.settle(120 * CENT)
    await one.renew()
    with pytest.raises(OverBudget, match=r"\$1.20 of \$1.00 are spent") as refused:
        await spend(two, 1)
    assert not refused.value.held


async def test_a_lost_answer_is_asked_for_again_without_counting_twice(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    """The connection broke after the statement took effect and before its answer came."""
    leases = worker(pool, "a")
    await spend(leases, 40)

    class Losing:
        async def fetch(self, *arguments: object, **more: object) -> object:
            await pool.fetch(*arguments, **more)  # type: ignore[arg-type]
            raise ConnectionResetError("gone")

    monkeypatch.setattr(leases, "_pool", Losing())
    with pytest.raises(Retryable, match="the budgets cannot be asked"):
        await leases.close()
    assert ((await use(pool)).spent, (await use(pool)).held) == (40 * CENT, 0), "it took effect"
    with pytest.raises(Retryable):
        await spend(leases, 1)
    monkeypatch.undo()
    await spend(leases, 60)
    await leases.close()
    assert ((await use(pool)).spent, (await use(pool)).held) == (DOLLAR, 0)


async def test_without_the_database_a_lease_is_spent_and_then_calls_wait(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    leases = worker(pool, "a", clock)
    await spend(leases, 10, limit("1000"))

    class Gone:
        async def fetch(self, *arguments: object, **more: object) -> object:
            raise ConnectionRefusedError("no Postgres")

    monkeypatch.setattr(leases, "_pool", Gone())
    with pytest.raises(Retryable):
        await leases.renew()
    await spend(leases, 10, limit("1000"))
    clock.now += 31
    with pytest.raises(Retryable, match="Look whether it is up and migrated"):
        await spend(leases, 10, limit("1000"))
    monkeypatch.undo()
    await spend(leases, 10, limit("1000"))


async def test_a_day_and_a_month_are_spent_side_by_side_and_renew_on_their_own(pool: Pool):
    leases = worker(pool, "a")

    def both(at_ms: int) -> ComposedBudget:
        dollar, three = Decimal(1), Decimal("1.5")
        limits = daily("workflow w", at_ms, dollar, "d"), monthly("workflow w", at_ms, three, "m")
        return ComposedBudget([leases.purse(each) for each in limits])

    day_ms = 86_400_000
    await (await both(AT_MS).reserve(DOLLAR)).settle(DOLLAR)
    with pytest.raises(OverBudget, match="the daily budget"):
        await both(AT_MS).reserve(CENT)
    with pytest.raises(OverBudget, match="the monthly budget of workflow w for 2025-11"):
        await both(AT_MS + day_ms).reserve(51 * CENT)
    await (await both(AT_MS + day_ms).reserve(50 * CENT)).settle(50 * CENT)
    await (await both(AT_MS + 7 * day_ms).reserve(DOLLAR)).settle(DOLLAR)
    await leases.close()
    assert {row.period: row.spent for row in await used(pool)} == {
        "2025-11-25": DOLLAR,
        "2025-11-26": 50 * CENT,
        "2025-12-02": DOLLAR,
        "2025-11": 150 * CENT,
        "2025-12": DOLLAR,
    }


async def test_another_version_of_a_workflow_with_a_higher_limit_spends_of_the_same_sum(pool: Pool):
    leases = worker(pool, "a")
    await spend(leases, 100, limit("1"))
    with pytest.raises(OverBudget):
        await spend(leases, 1, limit("1"))
    await spend(leases, 50, limit("1.5"))
    with pytest.raises(OverBudget):
        await spend(leases, 1, limit("1.5"))


async def test_the_threshold_is_seen_by_every_worker_and_told_by_each_once(pool: Pool):
    told: list[BudgetAlert] = []
    one, two = worker(pool, "a", on_alert=told.append), worker(pool, "b", on_alert=told.append)
    for _ in range(9):
        await spend(one, 10)
    assert one.purse(limit()).tightness() == "alert"
    await one.close()
    await spend(two, 1)
    assert two.purse(limit()).tightness() == "alert"
    assert [(alert.level, alert.spent_micro_usd) for alert in told] == [("alert", 80 * CENT), ("alert", 90 * CENT)]
    assert len({alert.id for alert in told}) == 1, "who reads both knows that they are one"
    with pytest.raises(OverBudget):
        await spend(two, 20)
    assert [alert.level for alert in told] == ["alert", "alert", "exhausted"]


async def test_reconciling_keeps_leases_that_are_alive(pool: Pool):
    alive, dead = worker(pool, "a"), worker(pool, "b", seconds=0.0)
    await ComposedBudget([alive.purse(limit())]).reserve(20 * CENT)
    with pytest.raises(OverBudget):  # its lease is over as soon as it has it
        await ComposedBudget([dead.purse(limit())]).reserve(30 * CENT)
    assert await reconcile(pool, "workflow w", "2025-11-25", 10 * CENT, until_ms=2**42) >= 19 * CENT
    row = await use(pool)
    assert (row.spent, row.held_by_expired) == (10 * CENT, 0)
    assert row.held >= 20 * CENT


async def test_leases_are_renewed_while_they_are_open_and_given_back_after(pool: Pool):
    async with open_leases(pool, "a") as leases:
        await spend(leases, 5, limit("100"))
        assert (await use(pool)).held > 0
    assert ((await use(pool)).spent, (await use(pool)).held) == (5 * CENT, 0)


async def test_many_workers_at_once_never_hold_and_spend_more_than_the_limit(pool: Pool):
    """Statements of renewal and of need in any order, on two limits each: no deadlock, no cent too many."""
    workers = [worker(pool, f"w{number}") for number in range(5)]
    spent = 0

    async def work(leases: Leases, number: int) -> None:
        nonlocal spent
        for turn in range(40):
            limits = limit("2"), monthly("everything", AT_MS, Decimal(3), "HIL_MONTHLY_BUDGET")
            purses = [leases.purse(each) for each in (limits if turn % 2 else reversed(limits))]
            try:
                reservation = await ComposedBudget(purses).reserve(3 * CENT)
            except OverBudget:
                pass
            else:
                spent += (turn + number) % 4 != 0 and 3
                await (reservation.release() if (turn + number) % 4 == 0 else reservation.settle(3 * CENT))
            if turn % 5 == number:
                await leases.renew()
            for row in await used(pool):
                assert row.spent + row.held <= row.limit

    await asyncio.gather(*(work(leases, number) for number, leases in enumerate(workers)))
    await asyncio.gather(*(leases.close() for leases in workers))
    assert 150 < spent <= 200
    assert {row.spent for row in await used(pool)} == {spent * CENT}
