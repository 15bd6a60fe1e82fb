"""Command groups that are built elsewhere, with what they need."""

from __future__ import annotations

import asyncio

import typer

from agents.router.catalogue import Catalogue
from agents.router.installs import configured
from connectors.cli import (
    budgets,
    console,
    costs,
    deadletters,
    evaluating,
    models,
    positions,
    replay,
    routing,
    schemas,
    tokens,
    workflows,
)
from schemas.workflow.definition import WorkflowDefinition
from streams.app.budgetbooks import BudgetBooks
from streams.app.checks import LateWorkbench
from streams.app.costing import Costing
from streams.app.publishing import known_tools
from streams.app.replaying import Replaying
from streams.app.routing import everything, here, word_vectors
from streams.app.standing import Standings
from streams.app.system import Application


def groups(application: Application) -> list[typer.Typer]:
    replaying, settings = Replaying(application), application.settings

    def catalogue() -> Catalogue:
        return configured(Catalogue.load(settings.catalog), settings.environment())

    def tools(definition: WorkflowDefinition) -> set[str] | None:
        return asyncio.run(known_tools([definition], application.reachable().environment(), console.report))

    return [
        workflows.build(LateWorkbench(settings, tools=tools), application),
        schemas.app,
        replay.build(replaying),
        replay.build_rebuild(replaying),
        deadletters.build(replaying),
        models.build(catalogue, settings.environment()),
        tokens.build(catalogue),
        routing.build(lambda: everything(settings), lambda: here(settings)),
        evaluating.build(catalogue, word_vectors),
        budgets.build(BudgetBooks(application)),
        costs.build(Costing(application)),
        positions.build(Standings(application)),
    ]
