"""What `hil replay verify` says of garbage, and what it exits with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.cli.replay import build
from connectors.cli.replay_ports import Verified
from streams.replay.verification import Counts

NOTE = "workflow.events-0@7 is no decision and is passed over: invalid_json"


class Replays:
    def __init__(self, unreadable: int, difference: str | None = None) -> None:
        self.unreadable, self.difference = unreadable, difference

    def verify_file(self, path: str) -> Verified:
        counts = asdict(Counts(events=3, unreadable=self.unreadable))
        return Verified(counts, 0.1, self.difference, notes=[NOTE] if self.unreadable else [])


@pytest.mark.parametrize(
    ("unreadable", "difference", "arguments", "code"),
    [
        (0, None, (), 0),
        (0, None, ("--strict",), 0),
        (2, None, (), 0),
        (2, None, ("--strict",), 1),
        (0, "missing", (), 1),
        (2, "missing", (), 1),
    ],
)
def test_garbage_is_no_difference_unless_it_is_asked_for(
    unreadable: int, difference: str | None, arguments: tuple[str, ...], code: int
):
    replays: Any = Replays(unreadable, difference)
    done = CliRunner().invoke(build(replays), ["verify", "history.gz", *arguments])
    assert done.exit_code == code
    assert ("no decisions (passed over) 2" in done.output) is (unreadable == 2 and difference is None)
    assert (NOTE in done.output) is bool(unreadable)
