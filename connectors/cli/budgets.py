"""`hil budgets`: how far limits on spending are used. Exit 0: done, 1: cannot, 2: usage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Protocol

import typer
from rich.table import Table

from agents.router.limits import dollars
from connectors.cli import console
from connectors.postgres.spending import Reconciled, Use


class Books(Protocol):
    """streams/app implements it."""

    async def budgets(self) -> Sequence[Use]:
        """The latest period first."""
        ...

    async def reconcile_budgets(self, *, older_than_minutes: int) -> Sequence[Reconciled]: ...


def build(books: Books) -> typer.Typer:
    """The command group `budgets`."""
    group = typer.Typer(name="budgets", help="Limits on spending, and how far they are used.", no_args_is_help=True)

    @group.command("list")
    def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a limit and period.")] = False) -> None:
        """Every daily and monthly limit that was asked for, the latest period first."""
        uses = console.run(books.budgets())
        table = Table("whose", "period", "limit", "spent", "held", "held by workers that are gone")
        for use in uses:
            if as_json:
                console.data(json.dumps(_named(use)))
            amounts = (use.limit, use.spent, use.held, use.held_by_expired)
            table.add_row(use.scope, use.period, *map(dollars, amounts))
        if not uses:
            console.report("no daily or monthly budget was asked for yet: set one in a workflow's cost_controls")
        elif not as_json:
            console.out().print(table)

    @group.command()
    def reconcile(
        older_than: Annotated[int, typer.Option(min=1, help="Minutes since a worker was last heard of.")] = 10,
    ) -> None:
        """Free what workers held that are gone, less what the log says they spent. The projector must have caught up."""
        done = console.run(books.reconcile_budgets(older_than_minutes=older_than))
        for each in done:
            console.out().print(f"{each.scope} {each.period}: {dollars(each.freed)} are free again")
        if not done:
            console.report("nothing is held by workers that are gone")

    return group


def _named(use: Use) -> dict[str, str | int]:
    """For programs: each amount with its unit in its name."""
    return {name if isinstance(value, str) else f"{name}_micro_usd": value for name, value in asdict(use).items()}
