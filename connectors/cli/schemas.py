"""`hil schemas`: what travels on which topic, and the Avro schemas to read it with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from connectors.cli import console
from schemas.codec import encoding_of
from schemas.codec.compatibility import check_compatibility
from schemas.codec.export import Incompatible, export, outdated
from schemas.codec.registry import FOLDER, current, event_types
from schemas.topics import TOPICS

app = typer.Typer(name="schemas", help="Event types, and the Avro schemas they are written with.", no_args_is_help=True)


@app.command("list")
def list_types(as_json: Annotated[bool, typer.Option("--json", help="One JSON line per type.")] = False) -> None:
    """Show every event type with its topics, encoding and schema fingerprint."""
    table = Table("type", "topics", "encoding", "fingerprint")
    for kind, model in event_types().items():
        topics = [topic.name for topic in TOPICS.values() if model in topic.carries]
        row = {"type": kind, "topics": topics, "encoding": encoding_of(model), "fingerprint": current(model).fingerprint.hex()}
        if as_json:
            console.data(json.dumps(row))
        table.add_row(kind, ", ".join(topics), encoding_of(model), current(model).fingerprint.hex())
    if not as_json:
        console.out().print(table)


@app.command("export")
def export_schemas(folder: Annotated[Path, typer.Argument(help="Where the .avsc files go; made when missing.")]) -> None:
    """Write the Avro schema of every event type into a folder. A version that is replaced is kept in its history."""
    try:
        changed = export(folder)
    except Incompatible as error:
        _refuse([f"{fault}." for fault in error.faults])
    except OSError as error:
        _refuse([f"cannot write to {folder}: {error.strerror or error}. Choose a folder you may write to."])
    console.report(f"{len(event_types())} schemas in {folder}, {len(changed)} of them new or changed")


@app.command("check")
def check() -> None:
    """Compare the events with the schemas that were shipped: equal, and able to read every former version."""
    faults = [f"{fault}." for fault in check_compatibility()]
    faults += [f"{kind}: the file is not what the event says. Run `hil schemas export {FOLDER}`." for kind in outdated()]
    if faults:
        _refuse(faults)
    console.report(f"{len(event_types())} event types: their schemas are up to date and read every former version")


def _refuse(faults: list[str]) -> None:
    for fault in faults:
        console.report(f"error: {fault}")
    raise typer.Exit(1)
