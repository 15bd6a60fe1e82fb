"""Publishing and listing workflows: validated here, known to every processor through `workflow.definitions`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agents.errors import NodeFailure
from connectors.cli.ports import CannotGoOn, PublishedWorkflow
from connectors.settings import Settings
from schemas.workflow.definition import WorkflowDefinition
from streams.app.checks import workbench
from streams.app.processors import clock_ms, follow_definitions
from streams.definitions import Workflow, published
from streams.runtime import Publisher
from streams.wire import outgoing


async def publish_files(
    bootstrap: str, paths: Sequence[str], settings: Settings, *, once: bool = False
) -> list[PublishedWorkflow]:
    """Publish each file that is not what its name and version stand for already. None is published when one has a fault.

    `once`: nor what they ever stood for, so that a start brings back nothing that somebody has changed since.
    """
    bench = workbench(settings)
    drafts = [bench.validate(Path(path))[0] for path in paths]
    unchecked: list[str] = []
    bench = replace(bench, tools=await known_tools(filter(None, drafts), settings.environment(), unchecked.append))
    checked = [(path, *bench.validate(Path(path))) for path in paths]
    faults = [str(fault) for _, _, found in checked for fault in found if fault.severity == "error"]
    if faults:
        raise CannotGoOn("nothing was published:\n" + "\n".join(faults))
    async with follow_definitions(bootstrap, lambda line: None) as (definitions, _), Publisher(bootstrap) as publisher:
        made = []
        for path, definition, warned in checked:
            assert definition is not None
            event = published(definition, Path(path).read_text(encoding="utf-8"), bench.agents, at_ms=clock_ms())
            known = definitions.by_digest(event.digest)
            if known is None or not (once or definitions.is_newest(known)):
                await publisher.send([outgoing(event)])
                definitions.add(event)
            workflow = definitions.by_digest(event.digest)
            assert workflow is not None
            made.append(replace(_row(workflow), warnings=(*unchecked, *map(str, warned))))
        return made


async def known_tools(
    definitions: Iterable[WorkflowDefinition], environ: Mapping[str, str], report: Callable[[str], None]
) -> set[str] | None:
    """The actions of every app these workflows declare; None when no tools are configured or, which is reported, they cannot
    be asked now."""
    from connectors.composio.client import ComposioClient, configure  # takes two seconds to import

    settings = configure(environ)
    apps = {app.name.lower() for definition in definitions for app in definition.composio.apps}
    if settings is None or not apps:
        return None
    async with ComposioClient(settings) as client:
        try:
            return {f"{app}.{name}" if "." not in name else name for app in sorted(apps) for name in await client.tools(app)}
        except NodeFailure as failure:
            report(f"warning: whether the tools exist was not checked: {failure}")
            return None


async def list_published(bootstrap: str) -> list[PublishedWorkflow]:
    """Every published version, by name and version."""
    async with follow_definitions(bootstrap, lambda line: None) as (definitions, _):
        return [_row(workflow) for workflow in definitions.list()]


def _row(workflow: Workflow) -> PublishedWorkflow:
    event = workflow.published
    return PublishedWorkflow(
        name=event.name,
        version=event.version,
        digest=event.digest,
        nodes=len(workflow.definition.workflow.nodes),
        published_ms=event.published_ms,
        deprecated=event.deprecated,
    )
