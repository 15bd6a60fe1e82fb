"""Publishing and listing workflows: validated here, known to every processor through `workflow.definitions`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectors.cli.ports import CannotGoOn, PublishedWorkflow
from streams.app.checks import workbench
from streams.app.processors import clock_ms, follow_definitions
from streams.definitions import Workflow, published
from streams.runtime import Publisher
from streams.wire import outgoing


async def publish_files(bootstrap: str, paths: Sequence[str]) -> list[PublishedWorkflow]:
    """Publish each file whose content is not published yet. None is published when one has a fault."""
    bench = workbench()
    checked = [(path, *bench.validate(Path(path))) for path in paths]
    faults = [str(fault) for _, _, found in checked for fault in found if fault.severity == "error"]
    if faults:
        raise CannotGoOn("nothing was published:\n" + "\n".join(faults))
    async with follow_definitions(bootstrap, lambda line: None) as (definitions, _), Publisher(bootstrap) as publisher:
        made = []
        for path, definition, _ in checked:
            assert definition is not None
            event = published(definition, Path(path).read_text(encoding="utf-8"), bench.agents, at_ms=clock_ms())
            if definitions.by_digest(event.digest) is None:
                await publisher.send([outgoing(event)])
                definitions.add(event)
            workflow = definitions.by_digest(event.digest)
            assert workflow is not None
            made.append(_row(workflow))
        return made


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
