"""What authors' tools know of this installation: its agents, and the profiles of its catalogue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from agents import builtin
from agents.router.catalogue import Catalogue
from agents.router.faults import CatalogueError
from agents.router.installs import configured
from connectors.cli.ports import CannotGoOn
from connectors.settings import Settings
from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.faults import Fault
from streams.workflows.simulate import simulate_file
from streams.workflows.workbench import Workbench, draw

ToolsOf = Callable[[WorkflowDefinition], Collection[str] | None]
"""The actions of the apps a workflow declares, as `app.action`; None when nobody can say now."""


def workbench(settings: Settings, *, tools: Collection[str] | None = None) -> Workbench:
    """`tools` are the `app.action` names that exist; None when nobody can say, as without a running system.

    Raises CannotGoOn when HIL_CATALOG has faults.
    """
    try:
        catalogue = configured(Catalogue.load(settings.catalog), settings.environment())
    except (CatalogueError, OSError) as error:
        raise CannotGoOn(f"{settings.catalog or 'the catalogue'}: {error}") from error
    return Workbench(builtin.registry().agent_types(), tools, tuple(catalogue.profiles), catalogue.profile_faults)


class LateWorkbench:
    """connectors.cli.workflows.Workbench, made when a command needs it: reading the catalogue takes half a second."""

    def __init__(self, settings: Settings, *, tools: ToolsOf | None = None) -> None:
        """`tools`: asks the tool server that can be reached, if there is one."""
        self._settings = settings
        self._tools = tools

    @cached_property
    def _made(self) -> Workbench:
        return workbench(self._settings)

    def validate(self, file: Path) -> tuple[WorkflowDefinition | None, list[Fault]]:
        definition, faults = self._made.validate(file)
        if definition is None or not definition.composio.apps or self._tools is None:
            return definition, faults
        return replace(self._made, tools=self._tools(definition)).validate(file)

    def draw(self, definition: WorkflowDefinition, *, mermaid: bool) -> str:
        return draw(definition, mermaid=mermaid)

    def simulate(self, file: Path, input: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        return simulate_file(file, agents=builtin.registry().agent_types(), input=input, outputs=outputs)
