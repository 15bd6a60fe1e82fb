"""Validation with what this installation knows: its agents and its model profiles."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from agents import builtin
from agents.prompts import PROFILES
from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.faults import Fault
from streams.workflows.validator import validate


def validate_file(path: str, *, tools: Collection[str] | None = None) -> tuple[WorkflowDefinition | None, list[Fault]]:
    """The definition, None when it has errors, and every fault. `tools` are the actions that exist, None when nobody can say."""
    return validate(Path(path), agents=builtin.registry().agent_types(), tools=tools, profiles=PROFILES, file=path)
