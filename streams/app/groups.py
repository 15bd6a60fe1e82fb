"""Command groups that are built elsewhere."""

from __future__ import annotations

import typer

from connectors.cli import schemas
from streams.app.system import Application


def groups(application: Application) -> list[typer.Typer]:
    return [schemas.app]
