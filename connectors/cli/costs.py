"""`hil costs`: what was spent, on what, since when; and what it would have been otherwise."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from connectors.cli import console
from connectors.cli.costs_ports import By, CostBooks, Line, Period, Report
from connectors.cli.ports import CannotGoOn
from schemas.base import usd

Length = Annotated[Period, typer.Option("--period", help="How long one row is.")]
From = Annotated[
    str | None, typer.Option("--from", help="A time like 2026-01-31T12:00:00Z, or an age like 6h, 7d; whole hours count.")
]
To = Annotated[str | None, typer.Option("--to", help="The same words, exclusive.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
FORMATS: Mapping[Period, str] = {Period.HOURLY: "%Y-%m-%d %H:00", Period.DAILY: "%Y-%m-%d", Period.MONTHLY: "%Y-%m"}


def build(books: CostBooks) -> typer.Typer:
    group = typer.Typer(name="costs", help="What was spent: as the ledger has counted it, in UTC.", no_args_is_help=True)

    @group.command()
    def summary(period: Length = Period.DAILY, start: From = None, end: To = None, as_json: Json = False) -> None:
        """Calls, text tokens and cost by the hour, the day or the month."""
        _show(console.run(_report(books, period, None, start, end)), period, None, as_json=as_json)

    @group.command()
    def by(
        what: Annotated[By, typer.Argument(help="model, agent, workflow or node.")],
        period: Length = Period.DAILY,
        start: From = None,
        end: To = None,
        as_json: Json = False,
    ) -> None:
        """The same, for each model, agent, workflow or node."""
        _show(console.run(_report(books, period, what, start, end)), period, what, as_json=as_json)

    @group.command()
    def top(
        every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
        count: Annotated[int | None, typer.Option(min=1, help="Stop after so many looks.")] = None,
    ) -> None:
        """The present hour by model, kept up to date until Ctrl-C. Into a file or a pipe it prints one table after the other."""
        console.run(_top(books, every, count))

    @group.command("what-if")
    def what_if(
        period: Length = Period.MONTHLY,
        start: From = None,
        end: To = None,
        profile: Annotated[
            list[str] | None,
            typer.Option("--profile", help="balanced=MODEL[,MODEL]: the first that could take a call. Repeatable."),
        ] = None,
        prices: Annotated[str | None, typer.Option(help="A catalog.yaml whose prices hold instead.")] = None,
        as_json: Json = False,
    ) -> None:
        """Recorded calls at other prices, or by other models: the difference, and what would not have fitted."""
        found = console.run(_what_if(books, period, start, end, profile or [], prices))
        if as_json:
            console.data(json.dumps(found))
        else:
            _show_what_if(found)

    return group


async def _report(books: CostBooks, period: Period, by: By | None, start: str | None, end: str | None) -> Report:
    async with books.asking() as ask:
        return await ask.report(period, by, start, end)


async def _top(books: CostBooks, every: float, count: int | None) -> None:
    async with books.asking() as ask:
        looks = 0
        with Live(console=console.out(), auto_refresh=False, screen=False) if sys.stdout.isatty() else _Plain() as live:
            while True:
                live.update(
                    _table(await ask.latest(), f"This hour, at {time.strftime('%H:%M:%S')}", None, By.MODEL), refresh=True
                )
                looks += 1
                if count is not None and looks >= count:
                    return
                await asyncio.sleep(every)


class _Plain:
    """Stands in for rich.Live where nobody watches."""

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was changed."""

    def update(self, table: Table, *, refresh: bool) -> None:
        console.out().print(table)


async def _what_if(
    books: CostBooks, period: Period, start: str | None, end: str | None, given: Sequence[str], prices: str | None
) -> Mapping[str, Any]:
    profiles: dict[str, list[str]] = {}
    for text in given:
        name, equals, models = text.partition("=")
        named = [model.strip() for model in models.split(",") if model.strip()]
        if not (equals and name.strip() and named):
            raise CannotGoOn(f"--profile {text!r}: write PROFILE=MODEL or PROFILE=MODEL,MODEL, as in balanced=claude-3-haiku")
        if name.strip() in profiles:
            raise CannotGoOn(f"--profile {name.strip()} is given twice: write {name.strip()}=MODEL,MODEL, the first choice first")
        profiles[name.strip()] = named
    if not profiles and prices is None:
        raise CannotGoOn("nothing is different: give --profile balanced=MODEL, --prices FILE, or both")
    found = await books.what_if(period, start, end, profiles, prices)
    called = {line["profile"] for line in found["lines"]}
    for name in profiles:
        if name not in called:
            console.report(f"no recorded call of this period is of the profile {name}: --profile {name}=… changes nothing")
    return found


def _show(report: Report, period: Period, by: By | None, *, as_json: bool) -> None:
    if as_json:
        body = {
            "period": period.value,
            "by": by.value if by is not None else None,
            "from": report.start.isoformat(),
            "to": report.end.isoformat(),
            "rows": [_as_json(line, by) for line in report.lines],
            "total": {name: sum(getattr(line, name) for line in report.lines) for name in _COUNTED}
            | {"cost_usd": _dollars_number(sum(line.cost_micro_usd for line in report.lines))},
        }
        console.data(json.dumps(body))
        return
    if not report.lines:
        console.out().print(f"nothing was counted from {report.start:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} UTC")
        return
    title = f"{report.start:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} UTC"
    console.out().print(_table(report.lines, title, FORMATS[period], by))


_COUNTED = (
    "calls",
    "errors",
    "cost_micro_usd",
    "input_text_tokens",
    "cached_text_tokens",
    "cache_write_text_tokens",
    "output_text_tokens",
    "reasoning_text_tokens",
)


_SHOWN = {
    "calls": "calls",
    "failed": "errors",
    "input": "input_text_tokens",
    "cached": "cached_text_tokens",
    "output": "output_text_tokens",
}


def _as_json(line: Line, by: By | None) -> dict[str, Any]:
    body = asdict(line) | {"start": line.start.isoformat(), "cost_usd": _dollars_number(line.cost_micro_usd)}
    name = body.pop("name")
    return body if by is None else {by.value: name, **body}


def _dollars_number(micro_usd: int) -> float:
    """For JSON: the number whose shortest form is exact to the micro-dollar."""
    return float(usd(micro_usd))


def _table(lines: Sequence[Line], title: str, period: str | None, by: By | None) -> Table:
    # On a narrow terminal an amount goes on in the next line: cut off it would be another amount.
    table = Table(title=title, title_justify="left", show_footer=True)
    if period is not None:
        table.add_column("period", footer="all", overflow="fold")
    if by is not None:
        table.add_column(by.value, footer="" if period is not None else "all", overflow="fold")
    sums = {name: sum(getattr(line, name) for line in lines) for name in _COUNTED}
    for heading, name in _SHOWN.items():
        table.add_column(heading, justify="right", overflow="fold", footer=f"{sums[name]:,}")
    table.add_column("p50", justify="right", overflow="fold")
    table.add_column("p95", justify="right", overflow="fold")
    table.add_column("cost", justify="right", overflow="fold", footer=f"${usd(sums['cost_micro_usd'])}")
    for line in lines:
        cells = [f"{line.start:{period}}"] if period is not None else []
        cells += [line.name or "-"] if by is not None else []
        cells += [f"{getattr(line, name):,}" for name in _SHOWN.values()]
        table.add_row(*cells, f"{line.p50_ms} ms", f"{line.p95_ms} ms", f"${usd(line.cost_micro_usd)}")
    return table


def _show_what_if(found: Mapping[str, Any]) -> None:
    out = console.out()
    table = Table(title=f"{found['from']} to {found['to']}", title_justify="left")
    for name in ("profile", "answered by", "would be"):
        table.add_column(name)
    for name in ("calls", "cost", "would cost"):
        table.add_column(name, justify="right")
    for line in found["lines"]:
        dollars = [f"${line[name]:.6f}" for name in ("was_usd", "would_be_usd")]
        table.add_row(line["profile"], line["model"], line["instead"], f"{line['calls']:,}", *dollars)
    out.print(table)
    share = f" ({found['difference_usd'] / found['was_usd']:+.1%})" if found["was_usd"] else ""
    out.print(f"${found['was_usd']:.6f} → ${found['would_be_usd']:.6f}, a difference of ${found['difference_usd']:+.6f}{share}")
    for key, words in (
        ("too_long", "would not have fitted into the context of any model given"),
        ("cannot", "need something that no model given can do"),
        ("unpriced", "were of models the catalogue has no price for"),
    ):
        if found[key]:
            out.print(f"{found[key]:,} calls {words}: they are in it at what they cost")
