"""Every fault of a workflow at once: where it is, what is wrong, what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.faults import Fault, InvalidWorkflow, errors, in_order
from schemas.workflow.loading import draft
from streams.workflows.references import reference_faults
from streams.workflows.resources import ProfileFaults, resource_faults
from streams.workflows.structure import structure_faults
from streams.workflows.subject import Subject


def validate(
    source: str | Path,
    *,
    agents: Mapping[str, str],
    tools: Collection[str] | None = None,
    profiles: Collection[str] = ("fast", "balanced", "powerful"),
    profile_faults: ProfileFaults | None = None,
    file: str | None = None,
) -> tuple[WorkflowDefinition | None, list[Fault]]:
    """The definition, None when it has errors, and every fault in the order of the file.

    A Path is read, a text is taken as it is. `agents` maps names to types; `tools` are the `app.action` names that exist,
    None when nobody can say; `profiles` are those of the router, and `profile_faults` what it has against the workflow's own.
    """
    try:
        drafted = draft(source, file=file)
    except InvalidWorkflow as invalid:
        return None, in_order(invalid.faults)
    subject = Subject(drafted)
    faults = in_order(
        [
            *drafted.faults,
            *structure_faults(subject),
            *reference_faults(subject),
            *resource_faults(subject, agents, tools, profiles, profile_faults),
        ]
    )
    return (None if errors(faults) else drafted.definition), faults
