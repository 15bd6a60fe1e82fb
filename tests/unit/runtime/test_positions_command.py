"""`hil positions`: what it prints, and what it passes on."""

from __future__ import annotations

import json
from collections.abc import Sequence

from typer.testing import CliRunner

from connectors.cli.positions import Position, To, build


class Known:
    def __init__(self) -> None:
        self.asked: list[tuple[str | None, ...]] = []

    async def positions(self, group: str | None) -> Sequence[Position]:
        self.asked.append((group,))
        return [
            Position("hil.conversations", "conversation.events", 0, 5, 100, 90, 92, None),
            Position("hil.conversations", "conversation.events", 1, 5, 100, None, None, "was created anew"),
        ]

    async def repair_positions(self, group: str, topic: str, to: To) -> Sequence[tuple[Position, int]]:
        self.asked.append((group, topic, to.value))
        return [(Position(group, topic, 0, 5, 100, None, 92, None), 92)]


def run(known: Known, *words: str) -> str:
    result = CliRunner().invoke(build(known), words)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_each_partition_is_shown_with_both_positions_and_its_lag():
    lines = [json.loads(line) for line in run(Known(), "show", "--json").splitlines()]
    assert [(line["committed"], line["noted"], line["lag"]) for line in lines] == [(90, 92, 8), (None, None, 95)]
    assert lines[1]["change"] == "was created anew"


def test_a_repair_names_what_was_and_what_is():
    known = Known()
    said = run(known, "repair", "hil.intake", "customer.messages", "--to", "changelog")
    assert said.strip() == "customer.messages-0: 92, was nowhere"
    assert known.asked == [("hil.intake", "customer.messages", "changelog")]


def test_a_repair_never_chooses_by_itself():
    assert CliRunner().invoke(build(Known()), ["repair", "hil.intake", "customer.messages"]).exit_code == 2
