"""Every fault of a workflow at once: where it is, what is wrong, what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from schemas.codec import Undecodable, Unencodable, decode, encode
from schemas.events import WorkflowPublished
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.faults import Fault, InvalidWorkflow, errors, in_order
from schemas.workflow.loading import draft
from streams.definitions import compiled, published
from streams.workflows.ignored import ignored_faults
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
            *version_faults(subject),
            *structure_faults(subject),
            *ignored_faults(subject, agents),
            *reference_faults(subject),
            *resource_faults(subject, agents, tools, profiles, profile_faults),
        ]
    )
    if not errors(faults):
        faults = in_order([*faults, *reading_faults(subject, agents)])
    return (None if errors(faults) else drafted.definition), faults


def version_faults(subject: Subject) -> Iterator[Fault]:
    """A reader is not so strict: what was published so stays what it is."""
    version = subject.draft.definition.version
    core, _, pre = version.partition("+")[0].partition("-")
    numbers = [*core.split("."), *(part for part in pre.split(".") if part.isdigit())]
    if any(len(number) > 1 and number.startswith("0") for number in numbers):
        message = f"`{version}` is no semantic version: a number of it begins with 0"
        yield subject.error(("version",), message, 'write it without, e.g. "1.2.0"', "version")


def reading_faults(subject: Subject, agents: Mapping[str, str]) -> Iterator[Fault]:
    """What whoever reads it would have against it: it is published, in memory, and read as a processor reads it."""
    definition = subject.draft.definition
    try:
        event = published(definition, "", agents, at_ms=0)
        value, headers = encode(event)
        read = decode(value, headers)
        assert isinstance(read, WorkflowPublished)
        compiled(read)
    except (Unencodable, Undecodable, ValueError) as error:
        message = f"the workflow cannot be published: {str(error)[:300]}"
        yield subject.error((), message, "write numbers within 64 bits and whole characters", "unpublishable")
        return
    if 2 * len(value) > MAX_MESSAGE_BYTES:
        message = f"the workflow has {len(value):,} bytes when it is published, and its source comes on top"
        yield subject.error((), message, "split it into several workflows", "unpublishable")
