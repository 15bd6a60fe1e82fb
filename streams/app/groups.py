"""Command groups that are built elsewhere, with what they need."""

from __future__ import annotations

import typer

from connectors.cli import budgets, deadletters, replay, schemas, workflows
from streams.app.budgetbooks import BudgetBooks
from streams.app.checks import workbench
from streams.app.replaying import Replaying
from streams.app.system import Application


def groups(application: Application) -> list[typer.Typer]:
    replaying = Replaying(application)
    return [
        workflows.build(workbench(), application),
        schemas.app,
        replay.build(replaying),
        replay.build_rebuild(replaying),
        deadletters.build(replaying),
        budgets.build(BudgetBooks(application)),
    ]
