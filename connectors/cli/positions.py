"""`hil positions`: how far processors have come, and setting it on purpose. Exit 0: done, 1: cannot, 2: usage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Protocol

import typer
from rich.table import Table

from connectors.cli import console


@dataclass(frozen=True, slots=True)
class Position:
    """One partition of one processor's topic. Offsets; None where there is none."""

    group: str
    topic: str
    partition: int
    beginning: int
    end: int
    committed: int | None
    noted: int | None
    """Beside the states, or where processors without states keep it."""
    change: str | None
    """Why neither can be right any more."""

    @property
    def lag(self) -> int:
        return self.end - max(self.committed or 0, self.noted or 0, self.beginning)


class To(StrEnum):
    CHANGELOG = "changelog"
    EARLIEST = "earliest"
    LATEST = "latest"


class Places(Protocol):
    """streams/app implements it."""

    async def positions(self, group: str | None) -> Sequence[Position]:
        """Of all processors, or of one. Raises CannotGoOn for one there is not."""
        ...

    async def repair_positions(self, group: str, topic: str, to: To) -> Sequence[tuple[Position, int]]:
        """Each as it was, and where it is now."""
        ...


def build(places: Places) -> typer.Typer:
    """The command group `positions`."""
    group = typer.Typer(name="positions", help="How far each processor has come on its topics.", no_args_is_help=True)

    @group.command()
    def show(
        group: Annotated[str | None, typer.Argument(help="A consumer group, as in hil.conversations.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a partition.")] = False,
    ) -> None:
        """Where each partition stands: the group's offset, and what is noted beside the states. Reads the changelogs."""
        found = console.run(places.positions(group))
        table = Table("group", "partition", "first", "end", "committed", "noted", "lag", "")
        for each in found:
            if as_json:
                console.data(json.dumps(asdict(each) | {"lag": each.lag}))
            offsets = (each.beginning, each.end, each.committed, each.noted, each.lag)
            shown = ("-" if offset is None else str(offset) for offset in offsets)
            table.add_row(each.group, f"{each.topic}-{each.partition}", *shown, each.change or "")
        if not as_json:
            console.out().print(table)

    @group.command()
    def repair(
        group: Annotated[str, typer.Argument(help="A consumer group, as in hil.conversations.")],
        topic: Annotated[str, typer.Argument(help="The topic it reads.")],
        to: Annotated[
            To,
            typer.Option(
                help="changelog: where it was noted last. earliest: all that is left comes again. latest: nothing of it."
            ),
        ],
    ) -> None:
        """Set the positions of a processor that does not run, in its group and beside its states."""
        for before, position in console.run(places.repair_positions(group, topic, to)):
            was = "nowhere" if before.committed is None else str(before.committed)
            console.out().print(f"{before.topic}-{before.partition}: {position}, was {was}")

    return group
