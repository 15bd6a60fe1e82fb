"""Authors' tools over one set of surroundings: which agents, tools and model profiles there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.faults import Fault
from streams.workflows import show, validator
from streams.workflows.resources import ProfileFaults
from streams.workflows.simulate import simulate_file


def draw(definition: WorkflowDefinition, *, mermaid: bool) -> str:
    return show.mermaid(definition) if mermaid else show.tree(definition)


@dataclass(frozen=True, slots=True)
class Workbench:
    """What `hil workflows` needs; see connectors.cli.workflows.Workbench."""

    agents: Mapping[str, str]
    """Name → type."""
    tools: Collection[str] | None
    """Known `app.action` names; None when nobody can say."""
    profiles: Collection[str]
    """Names of those the router knows."""
    profile_faults: ProfileFaults | None = None

    def validate(self, file: Path) -> tuple[WorkflowDefinition | None, list[Fault]]:
        return validator.validate(
            file, agents=self.agents, tools=self.tools, profiles=self.profiles, profile_faults=self.profile_faults
        )

    def draw(self, definition: WorkflowDefinition, *, mermaid: bool) -> str:
        return draw(definition, mermaid=mermaid)

    def simulate(self, file: Path, input: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        return simulate_file(file, agents=self.agents, input=input, outputs=outputs)
