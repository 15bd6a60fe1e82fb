"""`hil costs` as it is typed: what it asks for, what it prints, and what it says to a mistake."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich.console import Console
from typer.testing import CliRunner

from connectors.cli.costs import FORMATS, _table, build
from connectors.cli.costs_ports import By, Line, Period, Report

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
FAST = {"profile": "fast", "model": "small", "instead": "c", "calls": 9, "was_usd": 2.0, "would_be_usd": 0.5}


def line(name: str, micro: int) -> Line:
    return Line(NOON, name, 2, 1, micro, 100, 40, 0, 10, 0, 120, 110, 300)


class Books:
    """Answers every question with two lines, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Books]:
        yield self

    async def report(self, period: Period, by: By | None, start: str | None, end: str | None) -> Report:
        self.asked.append((period, by, start, end))
        return Report(NOON, NOON, [line("small", 1_234_567), line("large", 1)])

    async def latest(self) -> Sequence[Line]:
        return [line("small", 5)]

    async def what_if(
        self, period: Period, start: str | None, end: str | None, profiles: Mapping[str, Sequence[str]], prices: str | None
    ) -> Mapping[str, Any]:
        self.asked.append((period, profiles, prices))
        sums = {"was_usd": 2.0, "would_be_usd": 0.5, "difference_usd": -1.5, "too_long": 3, "cannot": 0, "unpriced": 0}
        return {"from": "a", "to": "b", "lines": [FAST], "calls": 9, **sums}


def run(*arguments: str) -> tuple[Books, Any]:
    books = Books()
    return books, CliRunner().invoke(build(books), list(arguments))


def test_json_has_exact_amounts_and_their_sum():
    books, result = run("by", "model", "--period", "hourly", "--from", "6h", "--json")
    body = json.loads(result.stdout)
    assert books.asked == [(Period.HOURLY, By.MODEL, "6h", None)]
    assert [(row["model"], row["cost_micro_usd"], row["cost_usd"]) for row in body["rows"]] == [
        ("small", 1_234_567, 1.234567),
        ("large", 1, 0.000001),
    ]
    assert (body["total"]["cost_micro_usd"], body["total"]["cost_usd"], body["total"]["calls"]) == (1_234_568, 1.234568, 4)


def test_the_table_ends_with_the_sum():
    _, result = run("summary")
    assert "$1.234568" in result.stdout
    assert result.exit_code == 0


def test_on_a_narrow_terminal_no_amount_is_cut_off():
    shown = StringIO()
    screen = Console(width=44, file=shown)
    screen.print(_table([line("small", 1_234_567)], "", FORMATS[Period.DAILY], By.MODEL))
    assert "…" not in shown.getvalue()


def test_top_prints_plain_tables_into_a_pipe_and_stops_when_told():
    _, result = run("top", "--every", "0.2", "--count", "2")
    assert result.stdout.count("This hour") == 2
    assert "\x1b" not in result.stdout


def test_what_if_takes_models_by_profile_and_says_what_did_not_fit():
    books, result = run("what-if", "--profile", "balanced=a, b", "--profile", "fast=c")
    assert books.asked == [(Period.MONTHLY, {"balanced": ["a", "b"], "fast": ["c"]}, None)]
    assert "$2.000000 → $0.500000" in result.stdout
    assert "-75.0%" in result.stdout
    assert "3 calls would not have fitted" in result.stdout


def test_what_if_says_when_nothing_was_called_by_the_profile():
    _, result = run("what-if", "--profile", "fast=a", "--profile", "fats=a")
    assert result.exit_code == 0
    assert "no recorded call of this period is of the profile fats" in result.stderr
    assert "the profile fast:" not in result.stderr


def test_a_mistake_is_answered_with_what_to_write():
    for arguments, words in (
        (["what-if"], "nothing is different"),
        (["what-if", "--profile", "balanced"], "write PROFILE=MODEL"),
        (["what-if", "--profile", "fast=a", "--profile", "fast=b"], "--profile fast is given twice"),
    ):
        books, result = run(*arguments)
        assert result.exit_code == 1
        assert words in " ".join(result.stderr.split())
        assert books.asked == []
