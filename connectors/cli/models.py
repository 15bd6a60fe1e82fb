"""`hil models`: which models there are, what they cost, and which of them the router may pick."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from agents.router.catalogue import Catalogue, Unpriced
from agents.router.faults import CatalogueError
from agents.router.installs import reachable
from agents.router.models import Model
from connectors.cli import console
from connectors.cli.ports import CannotGoOn

Load = Callable[[], Catalogue]


def build(load: Load, environ: Mapping[str, str]) -> typer.Typer:
    """`environ` tells whose models can be asked."""
    group = typer.Typer(name="models", help="The models the router knows, their prices and profiles.", no_args_is_help=True)

    @group.command("list")
    def list_models(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model.")] = False) -> None:
        """Show every model with its price for a million text tokens, and whether the router may pick it here."""
        catalogue = read(load)
        every: list[Model | Unpriced] = [*catalogue.models.values(), *catalogue.unpriced.values()]
        shown = [_row(catalogue, model, environ) for model in every]
        if as_json:
            for row in shown:
                console.data(json.dumps(row))
            return
        console.out().print(_table(shown))
        for profile in catalogue.profiles.values():
            dollars = Decimal(profile.max_cost_micro_usd) / 1_000_000
            line = f"{profile.name}: {', '.join(profile.primary)}; else {', '.join(profile.fallback) or 'none'}"
            limits = f"; at most ${dollars.normalize():f} a call, {profile.max_latency_ms} ms"
            console.out().print(f"{line}{limits}")

    @group.command()
    def show(
        name: Annotated[str, typer.Argument(help="A model's name, or what its endpoint calls it.")],
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """Show everything that is known of one model, and in which profiles it is."""
        catalogue = read(load)
        model = console.call(lambda: _found(catalogue, name))
        row = _row(catalogue, model, environ)
        if as_json:
            console.data(json.dumps(row))
            return
        table = Table("setting", "value", show_header=False, box=None)
        for key, value in row.items():
            table.add_row(key, Text(_plain(value)))
        console.out().print(table)

    return group


def read(load: Load) -> Catalogue:
    """The catalogue, or the end of the command with every fault of its file."""
    try:
        return load()
    except CatalogueError as error:
        for fault in error.faults:
            console.report(f"error: {fault}")
        raise typer.Exit(1) from None


def _found(catalogue: Catalogue, name: str) -> Model | Unpriced:
    known = catalogue.known(name)
    if known is None:
        raise CannotGoOn(f"no model {name!r}: `hil models list` shows those there are; catalog.yaml (HIL_CATALOG) adds one")
    return catalogue.models.get(known) or catalogue.unpriced[known]


def _row(catalogue: Catalogue, model: Model | Unpriced, environ: Mapping[str, str]) -> dict[str, Any]:
    profiles = [profile.name for profile in catalogue.profiles.values() if model.name in (*profile.primary, *profile.fallback)]
    row: dict[str, Any] = {"name": model.name, "provider": model.provider, "wire": model.wire, "context": model.context}
    if isinstance(model, Unpriced):
        return {**row, "profiles": profiles, "routable": False, "reason": model.reason}
    there = model.provider in reachable(catalogue, environ)
    reason = None if there else _unreachable(catalogue.keys.get(model.provider))
    row |= {
        "max_output": model.max_output,
        "latency_ms": model.latency_ms,
        "quality": model.quality,
        "quality_source": model.quality_source,
        "capabilities": sorted(model.capabilities),
        "price": dict(model.rates.row),
        "encoding": model.encoding,
        "token_ratio": model.token_ratio,
        "region": model.region,
        "fixed_temperature": model.fixed_temperature,
        "schema_by_tool": model.schema_by_tool,
        "responses_api": model.responses_api,
        "as_if": model.as_if,
        "profiles": profiles,
    }
    return {**row, "routable": reason is None, "reason": reason}


def _unreachable(key: str | None) -> str:
    return f"not reachable here: set {key}" if key else "not reachable here: a real model is"


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("model", "provider", "context", "$ in", "$ cached", "$ out", "ms", "quality", "can", "routable")
    table.caption = "dollars for a million text tokens; + more for long inputs (`hil models show`)"
    for row in rows:
        price = row.get("price", {})
        dollars, more = price.get("usd_per_1m", {}), "+" if price.get("tiers") else ""
        table.add_row(
            row["name"],
            row["provider"],
            f"{row['context']:,}",
            *(f"{dollars[kind]}{more}" if kind in dollars else "" for kind in ("input", "cached", "output")),
            str(row.get("latency_ms", "")),
            str(row.get("quality", "")),
            ", ".join(row.get("capabilities", ())),
            "yes" if row["routable"] else f"no: {row['reason']}",
        )
    return table


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
        case list():
            return ", ".join(_plain(each) for each in value)
        case None:
            return ""
        case _:
            return str(value)
