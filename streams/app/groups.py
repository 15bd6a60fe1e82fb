"""Command groups that are built elsewhere, with what they need."""

from __future__ import annotations

import typer

from connectors.cli import schemas, workflows
from streams.app.checks import workbench
from streams.app.system import Application


def groups(application: Application) -> list[typer.Typer]:
    return [workflows.build(workbench(), application), schemas.app]
