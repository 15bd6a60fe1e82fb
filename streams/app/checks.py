"""What authors' tools know of this installation: its agents and its model profiles."""

from __future__ import annotations

from collections.abc import Collection

from agents import builtin
from agents.prompts import PROFILES
from streams.workflows.workbench import Workbench


def workbench(*, tools: Collection[str] | None = None) -> Workbench:
    """`tools` are the `app.action` names that exist; None when nobody can say, as without a running system."""
    return Workbench(builtin.registry().agent_types(), tools, PROFILES)
