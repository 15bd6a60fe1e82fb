"""What authors' tools know of this installation: its agents and its model profiles."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from agents import builtin
from agents.prompts import PROFILES
from agents.router.catalogue import Catalogue
from streams.workflows.workbench import Workbench


def workbench(*, tools: Collection[str] | None = None, catalog: Path | None = None) -> Workbench:
    """`tools` are the `app.action` names that exist; None when nobody can say, as without a running system.

    `catalog`: a file that adds profiles of one's own. Raises CatalogueError.
    """
    profiles: Collection[str] = PROFILES if catalog is None else Catalogue.load(catalog).profiles
    return Workbench(builtin.registry().agent_types(), tools, profiles)
