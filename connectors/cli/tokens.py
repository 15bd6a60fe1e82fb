"""`hil tokens`: how many text tokens texts have for a model, one JSON string a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.table import Table
from rich.text import Text

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.installs import unlisted
from agents.router.models import Model
from agents.router.tokens import TokenCounter
from connectors.cli import console
from connectors.cli.models import Load, read
from connectors.cli.ports import CannotGoOn

SHOWN = 60
"""Characters of a text in the table."""


def build(load: Load) -> typer.Typer:
    group = typer.Typer()

    @group.command("tokens")
    def tokens(
        model: Annotated[str, typer.Option("--model", help="A model's name, or what its endpoint calls it.")],
        file: Annotated[str, typer.Argument(help="A file with one JSON string a line, or - for standard input.")] = "-",
        as_json: Annotated[bool, typer.Option("--json", help="One number a line, for each line of the input.")] = False,
    ) -> None:
        """Count text tokens: of each line, a JSON string such as "Where is my order?". Needs no network."""
        catalogue = read(load)
        found = _model(catalogue, model)
        console.call(lambda: _count(found, file, as_json=as_json))

    return group


def _model(catalogue: Catalogue, name: str) -> Model:
    found = catalogue.find(name)
    if found is None:
        found = unlisted(name)
        how = f"with {found.encoding}, which is its own" if found.encoding else "with o200k_base, and only about right"
        console.report(f"{name} is not in the catalogue: counted {how}")
    elif found.encoding is None:
        how = f"{found.token_ratio} for one of o200k_base"
        console.report(f"the encoding of {found.name} is not published: an estimate, {how}")
    return found


def _count(model: Model, file: str, *, as_json: bool) -> None:
    counter = TokenCounter()
    with _opened(file) as stream:
        counted = ((text, counter.count_text(model, text)) for text in texts(stream))
        if as_json:
            for _, count in counted:
                console.data(str(count))
            return
        console.out().print(_table(model, counted))


def texts(lines: Iterable[bytes]) -> Iterator[str]:
    """The JSON strings of a file, one a line. Raises CannotGoOn for a line that is none, with its number."""
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise CannotGoOn(f"line {number} is not UTF-8: {error.reason} at byte {error.start}") from None
        except (ValueError, RecursionError) as error:
            why = "it is empty" if not line.strip() else str(error)
            raise CannotGoOn(f'line {number} is not JSON ({why}): write a JSON string, such as "hello" or ""') from None
        if not isinstance(value, str):
            raise CannotGoOn(f"line {number} is {_kind(value)}, not a JSON string: put the text in quotes")
        yield value


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "an array", dict: "an object"}
    return kinds.get(type(value), "null")


def _opened(file: str) -> nullcontext[BinaryIO] | BinaryIO:
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as error:
        advice = "Name a file with one JSON string a line, or - for standard input."
        raise CannotGoOn(f"cannot read {file}: {error.strerror}. {advice}") from None


def _table(model: Model, counted: Iterable[tuple[str, int]]) -> Table:
    table = Table("line", "text", "characters", "text tokens")
    characters = total = 0
    for number, (text, count) in enumerate(counted, 1):
        characters, total = characters + len(text), total + count
        start = repr(text[:SHOWN])[1:-1] + ("…" if len(text) > SHOWN else "")
        table.add_row(str(number), Text(start), f"{len(text):,}", f"{count:,}")
    cost = model.rates.micro_usd(Usage(input_text_tokens=total))
    price = f", ${Decimal(cost) / 1_000_000:f} as one input" if cost else ""
    table.add_section()
    table.add_row("", Text(f"together, for {model.name}{price}"), f"{characters:,}", f"{total:,}")
    return table
