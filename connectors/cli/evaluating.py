"""`hil router`: whether routing is worth it, on recorded outcomes (evaluate) and recorded traffic (savings)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.evaluation.outcomes import Outcome, UnusableOutcomes, read_outcomes
from agents.router.evaluation.savings import UnusableTraffic, as_given, compared, read_traffic, typical
from agents.router.models import Model
from agents.router.request import dollars
from agents.router.tokens import TokenCounter
from connectors.cli import console
from connectors.cli.models import Load, read
from connectors.cli.ports import CannotGoOn

BLUEPRINT = {"fast": "gpt-3.5-turbo", "balanced": "gpt-4-turbo", "powerful": "gpt-4"}
Embed = Callable[[list[str]], Any]
"""Texts → an array of vectors, one a text. Raises CannotGoOn when nothing that makes them is installed."""
POLICIES = ("always_strong", "always_weak", "oracle")


def build(load: Load, embed: Embed) -> typer.Typer:
    group = typer.Typer(name="router", help="Whether routing is worth it: quality and cost, measured.", no_args_is_help=True)

    @group.command()
    def evaluate(
        file: Annotated[
            str, typer.Argument(help='JSON lines: {"prompt": …, "strong_correct": …, "weak_correct": …}; - for stdin.')
        ],
        strong: Annotated[str, typer.Option(help="The model whose answers `strong_correct` judges.")] = "gpt-4-turbo",
        weak: Annotated[str, typer.Option(help="The model whose answers `weak_correct` judges.")] = "gpt-3.5-turbo",
        output_tokens: Annotated[int, typer.Option(min=0, help="Text tokens of an answer, for its cost.")] = 256,
        targets: Annotated[str, typer.Option(help="Percent of the strong model's quality.")] = "90,95,98",
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """Quality and cost of routing policies on recorded outcomes, each judged on prompts it has not learned from."""
        catalogue = read(load)
        report = console.call(
            lambda: _evaluated(
                _outcomes(file), _model(catalogue, strong), _model(catalogue, weak), output_tokens, _targets(targets), embed
            )
        )
        _say(report, as_json, _show_evaluation)

    @group.command()
    def savings(
        traffic: Annotated[str | None, typer.Option(help="Events of llm.routing-decisions as JSON lines; - for stdin.")] = None,
        today: Annotated[str, typer.Option(help="Whose current models stand for today's prices.")] = "openai",
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """What routing saves against the strongest model alone, at the blueprint's and today's prices, beside random routing."""
        catalogue = read(load)
        report = console.call(lambda: _saved(catalogue, traffic, today))
        _say(report, as_json, _show_savings)

    return group


def _evaluated(
    outcomes: list[Outcome], strong: Model, weak: Model, output_tokens: int, targets: list[int], embed: Embed
) -> dict[str, Any]:
    try:
        import numpy as np
    except ImportError as error:
        raise CannotGoOn("numpy is not installed: pip install 'hil-agents[embedded]'") from error
    from agents.router.evaluation.curves import Stakes
    from agents.router.evaluation.difficulty import surface
    from agents.router.evaluation.report import evaluate

    prompts, counter = [each.prompt for each in outcomes], TokenCounter()

    def costs(model: Model) -> Any:
        asked = (counter.count_text(model, prompt) for prompt in prompts)
        return np.array([model.rates.micro_usd(Usage(count, 0, 0, output_tokens)) for count in asked], dtype=np.float64)

    stakes = Stakes(
        np.array([each.strong for each in outcomes]),
        np.array([each.weak for each in outcomes]),
        costs(strong),
        costs(weak),
    )
    features = np.hstack([surface(prompts), np.asarray(embed(prompts), dtype=np.float64)])
    lengths = np.array([counter.count_text(strong, prompt) for prompt in prompts], dtype=np.float64)
    report = evaluate(outcomes, stakes, features, lengths, targets)
    return {"strong": strong.name, "weak": weak.name, "output_text_tokens": output_tokens, **report}


def _saved(catalogue: Catalogue, traffic: str | None, today: str) -> dict[str, Any]:
    named = catalogue.installs.get(today)
    if named is None:
        raise CannotGoOn(f"--today: {today!r} has no models of its own. Choose from {', '.join(catalogue.installs)}.")
    try:
        calls = typical() if traffic is None else read_traffic(_lines(traffic))
    except UnusableTraffic as error:
        raise CannotGoOn(str(error)) from error
    return {
        "as_the_blueprint_gives_it": as_given(),
        "traffic": "a day of the blueprint's mix" if traffic is None else traffic,
        "at_blueprint_prices": compared(calls, {profile: _model(catalogue, name) for profile, name in BLUEPRINT.items()}),
        "at_todays_prices": compared(calls, {profile: _model(catalogue, name) for profile, name in named.items()}),
    }


def _outcomes(file: str) -> list[Outcome]:
    try:
        return read_outcomes(_lines(file))
    except UnusableOutcomes as error:
        raise CannotGoOn(f"{file}: {error}") from error


def _lines(file: str) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8").split("\n")
    except OSError as error:
        raise CannotGoOn(f"cannot read {file}: {error.strerror}. Name a file of JSON lines, or - for standard input.") from None
    except UnicodeDecodeError as error:
        raise CannotGoOn(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from None


def _model(catalogue: Catalogue, name: str) -> Model:
    found = catalogue.find(name)
    if found is None:
        raise CannotGoOn(f"no model {name!r} with a price: `hil models list` shows those there are")
    return found


def _targets(written: str) -> list[int]:
    parts = [part.strip() for part in written.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and 0 < int(part) <= 100 for part in parts):
        raise CannotGoOn(f"--targets is {written!r}: write whole percents from 1 to 100 with commas, such as 90,95,98")
    return [int(part) for part in parts]


def _say(report: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]) -> None:
    if as_json:
        console.data(json.dumps(report))
    else:
        show(report)


def _show_evaluation(report: Mapping[str, Any]) -> None:
    console.out().print(
        f"{report['prompts']} prompts; strong {report['strong']}, weak {report['weak']}; quality and cost in % of always strong",
    )
    table = Table("target", "policy", "setting", "quality", "cost", "to the strong", "reached", box=None)
    for name in POLICIES:
        table.add_row("", name.replace("_", " "), "", *_cells(report[name]), "")
    for target in report["targets"]:
        table.add_section()
        for policy, found in target.items():
            if policy == "percent_of_strong_quality":
                continue
            settings = found if "held_out" in found or "hindsight" in found else {"": found}
            for setting, row in settings.items():
                reached = "yes" if row["reached"] else "no"
                label = f"{target['percent_of_strong_quality']} %"
                table.add_row(label, policy.replace("_", " "), setting.replace("_", " "), *_cells(row), reached)
    console.out().print(table)


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        f"{row['percent_of_strong_quality']:.1f} %",
        f"{row['cost_percent_of_strong']:.1f} %",
        f"{row['strong_share_percent']:.1f} %",
    )


def _show_savings(report: Mapping[str, Any]) -> None:
    given = report["as_the_blueprint_gives_it"]
    console.out().print(
        f"As the blueprint gives it: {dollars(given['routed_micro_usd'])} a day routed, "
        f"{dollars(given['unrouted_micro_usd'])} without: {given['saving_percent']} % less. "
        f"The same mix at random: {given['random_saving_percent']} % less. It does not say which model {_each(given)} is.",
    )
    table = Table("prices", "policy", "cost", "saving", "mean quality", "lowest", box=None)
    for prices in ("at_blueprint_prices", "at_todays_prices"):
        table.add_section()
        for policy, row in report[prices]["policies"].items():
            table.add_row(
                prices.removeprefix("at_").replace("_", " "),
                policy.replace("_", " "),
                dollars(row["micro_usd"]),
                f"{row['saving_percent']} %",
                f"{row['mean_quality']:.2f}",
                f"{row['lowest_quality']:g}",
            )
    console.out().print(f"Traffic: {report['traffic']}")
    console.out().print(table)
    console.out().print("Quality is the catalogue's figure for the models; `hil router evaluate` measures it on outcomes.")


def _each(given: Mapping[str, Any]) -> str:
    return dollars(int(Decimal(given["unrouted_micro_usd"]) / given["conversations"])) + " a conversation"
