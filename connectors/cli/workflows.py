"""`hil workflows`: what authors do with a workflow file. Exit 0: fine, 1: the workflow has faults, 2: wrong usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.table import Table

from connectors.cli import console
from connectors.cli.ports import System
from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.faults import Fault, errors


class Workbench(Protocol):
    """Validating, drawing and simulating workflow files, somewhere else."""

    def validate(self, file: Path) -> tuple[WorkflowDefinition | None, list[Fault]]:
        """The definition, None when it has errors, and every fault in the order of the file. Raises CannotGoOn."""
        ...

    def draw(self, definition: WorkflowDefinition, *, mermaid: bool) -> str: ...

    def simulate(self, file: Path, input: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ValueError when input or outputs are not in the shape it takes."""
        ...


File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A workflow file.")]


def build(workbench: Workbench, system: System) -> typer.Typer:
    """The command group `workflows`."""
    group = typer.Typer(name="workflows", help="Workflow files: check, look at, try out and publish them.", no_args_is_help=True)

    @group.command()
    def validate(
        files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True, help="Workflow files.")],
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a fault.")] = False,
    ) -> None:
        """Report every fault at once, with its line and what to write instead."""
        broken = False
        for file in files:
            definition, faults = _validated(workbench, file)
            broken = broken or bool(errors(faults))
            for fault in faults:
                console.data(json.dumps(_fault(fault)) if as_json else str(fault))
            if definition is not None and not as_json:
                count = len(definition.workflow.nodes)
                console.data(f"{file}: {definition.name} {definition.version} is fine ({count} node{'' if count == 1 else 's'})")
        raise typer.Exit(1 if broken else 0)

    @group.command()
    def show(file: File, mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart.")] = False) -> None:
        """Draw the graph."""
        console.data(workbench.draw(_valid(workbench, file)[0], mermaid=mermaid), lines=True)

    @group.command()
    def simulate(
        file: File,
        input_file: Annotated[
            Path | None, typer.Option("--input", help='{"text": "…", "context": {…}}, or any other fields.')
        ] = None,
        outputs_file: Annotated[
            Path | None,
            typer.Option("--outputs", help='{"<node id>": {"output": …, "delay_ms": 10, "fail": "message"}}, all optional.'),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """Run it through the real reducer with invented outputs: no broker, no models."""
        given, outputs = _read(input_file, "--input"), _read(outputs_file, "--outputs")
        try:
            result = workbench.simulate(file, given, outputs)
        except ValueError as error:
            raise _misused(str(error)) from None
        if as_json:
            console.data(json.dumps(result))
        else:
            _tell(result)
        raise typer.Exit(1 if result["status"] == "invalid" else 0)

    @group.command()
    def publish(
        files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True, help="Workflow files.")],
    ) -> None:
        """Make workflows known to a running system. A run in flight keeps its version."""
        said = {str(fault) for file in files for fault in _valid(workbench, file)[1]}
        for workflow in console.run(system.publish_workflows([str(file) for file in files])):
            for warning in workflow.warnings:
                if warning not in said:
                    console.report(warning)
            console.data(f"{workflow.name}@{workflow.version} is published ({workflow.nodes} nodes, {workflow.digest[:12]})")

    @group.command("list")
    def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a version.")] = False) -> None:
        """The published workflows."""
        rows = console.run(system.list_workflows())
        if as_json:
            for row in rows:
                fields = ("name", "version", "digest", "nodes", "published_ms", "deprecated")
                console.data(json.dumps({field: getattr(row, field) for field in fields}))
            return
        if not rows:
            console.data("nothing is published: type `hil workflows publish FILE`")
            return
        table = Table("workflow", "version", "nodes", "digest", "published", "state", box=None)
        for row in rows:
            when = datetime.fromtimestamp(row.published_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
            table.add_row(row.name, row.version, str(row.nodes), row.digest[:12], when, "deprecated" if row.deprecated else "")
        console.out().print(table)

    return group


def _validated(workbench: Workbench, file: Path) -> tuple[WorkflowDefinition | None, list[Fault]]:
    """Exit 1 when nobody can say which profiles there are, because the catalogue has faults."""
    return console.call(lambda: workbench.validate(file))


def _valid(workbench: Workbench, file: Path) -> tuple[WorkflowDefinition, list[Fault]]:
    """The file's definition and its warnings; all faults on standard error, and exit 1 when it has errors."""
    definition, faults = _validated(workbench, file)
    for fault in faults:
        console.report(str(fault))
    if definition is None:
        raise typer.Exit(1)
    return definition, faults


def _read(file: Path | None, option: str) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        value = json.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise _misused(f"{option}: {file} cannot be read: {error.strerror or error}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise _misused(f"{option}: {file} is no JSON: {error}. Write one JSON object.") from None
    if not isinstance(value, dict):
        raise _misused(f"{option}: {file} holds no JSON object. Write {{…}}.")
    return value


def _misused(message: str) -> typer.Exit:
    console.report(f"error: {message}")
    return typer.Exit(2)


def _fault(fault: Fault) -> dict[str, Any]:
    fields = ("file", "line", "path", "message", "remedy", "severity", "code")
    return {field: getattr(fault, field) for field in fields}


def _tell(result: Mapping[str, Any]) -> None:
    console.data(f"status    {result['status']}")
    for key in ("executed", "skipped", "failed", "order"):
        console.data(f"{key:<9} {(' → ' if key == 'order' else ', ').join(result[key]) or '-'}")
    for fault in result.get("faults", ()):
        console.data(f"{fault['file']}:{fault['line']}: {fault['message']}. → {fault['remedy']}")
