"""What people see of shared limits, and how what dead workers held comes free again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from typer.testing import CliRunner

from agents.router.budget import ComposedBudget
from agents.router.limits import EVERYTHING
from connectors.cli.budgets import build
from connectors.postgres.leases import Leases
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.spending import Reconciled, Use, counted, reconcile_all, used
from connectors.postgres.values import moment
from tests.integration.lease_worker import AT_MS, CENT, limit

pytestmark = pytest.mark.postgres
MIDNIGHT_MS = 1_764_028_800_000  # 2025-11-25T00:00:00Z
HOUR_MS = 3_600_000


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, max_size=4)
    await migrate(pool)
    yield pool
    await pool.close()


async def called(pool: Pool, cents: int, at_ms: int, workflow: str = "w@1.0.0") -> None:
    """A model call as the projector copies it from the log."""
    await pool.execute(
        "INSERT INTO llm_routing_decisions (decision_id, occurred_at, conversation_id, run_id, node_id, execution_id, attempt, "
        "workflow, agent, requested_profile, provider, selected_model, success, input_text_tokens, cached_text_tokens, "
        "output_text_tokens, cost_micro_usd, latency_ms) "
        "VALUES ($1, $2, 'c', 'r', 'n', 'e', 1, $3, 'a', 'fast', 'p', 'm', true, 1, 0, 1, $4, 1)",
        f"{time.perf_counter_ns()}",
        moment(at_ms),
        workflow,
        cents * CENT,
    )


async def test_absurd_costs_are_as_much_as_there_is_and_break_no_count(pool: Pool):
    """Somebody else's, on our topic: the limit is used up, and whoever asks is told so."""
    for at in range(3):
        await called(pool, (2**63 - 1) // CENT, AT_MS + at)
    assert await counted(pool, EVERYTHING, moment(AT_MS).date().isoformat()) == 2**63 - 1


async def test_the_log_is_counted_by_workflow_and_period_and_an_hour_beyond(pool: Pool):
    for cents, at_ms in (
        (1, MIDNIGHT_MS - 1),
        (2, MIDNIGHT_MS),
        (4, MIDNIGHT_MS + 24 * HOUR_MS),
        (8, MIDNIGHT_MS + 25 * HOUR_MS),
        (16, MIDNIGHT_MS - 25 * 24 * HOUR_MS),  # October
    ):
        await called(pool, cents, at_ms)
    await called(pool, 32, AT_MS, workflow="w2@1.0.0")
    assert await counted(pool, "workflow w", "2025-11-25") == 6 * CENT
    assert await counted(pool, EVERYTHING, "2025-11-25") == 38 * CENT
    assert await counted(pool, "workflow w", "2025-11") == 15 * CENT
    assert await counted(pool, "workflow w", "2025-10") == 16 * CENT
    assert await counted(pool, "workflow unheard", "2025-11") == 0


async def test_what_a_dead_worker_held_comes_free_less_what_the_log_says_it_spent(pool: Pool):
    alive, dead = Leases(pool, "a"), Leases(pool, "b")
    for leases in (alive, dead):
        await ComposedBudget([leases.purse(limit())]).reserve(30 * CENT)
    await alive.close()  # what it has in flight stays held
    await called(pool, 12, AT_MS)
    await pool.execute("UPDATE budget_leases SET expires_at = now() - interval '1 hour' WHERE holder LIKE 'b#%'")
    before = (await used(pool))[0]
    [done] = await reconcile_all(pool, until_ms=2**42)
    [after] = await used(pool)
    assert done == Reconciled("workflow w", "2025-11-25", before.held_by_expired - 12 * CENT)
    assert (after.spent, after.held, after.held_by_expired) == (12 * CENT, 30 * CENT, 0)
    assert await reconcile_all(pool, until_ms=2**42) == []


class Books:
    """connectors.cli.budgets.Books with one limit."""

    async def budgets(self) -> list[Use]:
        return [Use("workflow w", "2025-11-25", 100 * CENT, 62 * CENT, 3 * CENT, CENT)]

    async def reconcile_budgets(self, *, older_than_minutes: int) -> list[Reconciled]:
        assert older_than_minutes == 10
        return [Reconciled("workflow w", "2025-11-25", CENT)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list"], "workflow w │ 2025-11-25 │ $1.00 │ $0.62 │ $0.03 │ $0.01"),
        (
            ["list", "--json"],
            '"period": "2025-11-25", "limit_micro_usd": 1000000, "spent_micro_usd": 620000, "held_micro_usd": 30000',
        ),
        (["reconcile"], "workflow w 2025-11-25: $0.01 are free again"),
    ],
)
def test_the_command_says_it_in_dollars(arguments: list[str], said: str):
    result = CliRunner().invoke(build(Books()), arguments)
    assert result.exit_code == 0
    assert said in " ".join(result.output.split())
