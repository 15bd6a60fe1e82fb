"""`hil models` and `hil tokens`: what they print, and that they say no when there is a reason."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from agents.router.catalogue import Catalogue
from agents.router.faults import CatalogueError
from agents.router.models import Model
from agents.router.tokens import TokenCounter
from connectors.cli import models, tokens


@cache
def catalogue() -> Catalogue:
    return Catalogue.load(on=date(2026, 11, 25))


def hil(*arguments: str, given: bytes = b"", environ: dict[str, str] | None = None, load: models.Load = catalogue) -> Result:
    app = typer.Typer()
    app.add_typer(models.build(load, environ or {}))
    app.add_typer(tokens.build(load))
    return CliRunner().invoke(app, list(arguments), input=given)


def test_list_says_of_every_model_whether_it_can_be_picked_here_or_why_not():
    rows = {
        row["name"]: row
        for row in map(json.loads, hil("models", "list", "--json", environ={"OPENAI_API_KEY": "x"}).stdout.splitlines())
    }
    assert list(rows) == list(catalogue().models)
    assert (rows["gpt-4"]["routable"], rows["gpt-4"]["reason"]) == (True, None)
    assert (rows["claude-3-opus"]["routable"], rows["claude-3-opus"]["reason"]) == (
        False,
        "not reachable here: set ANTHROPIC_API_KEY",
    )
    assert rows["gpt-4"]["price"]["usd_per_1m"] == {"input": "30", "output": "60"}
    assert rows["gpt-4"]["profiles"] == ["balanced", "powerful"]


def test_list_prints_models_and_profiles_for_people(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = hil("models", "list").stdout
    assert all(name in shown for name in catalogue().models)
    assert "fast: gpt-3.5-turbo, claude-3-haiku; else gpt-4-turbo, claude-3-sonnet; at most $0.01 a call, 1000 ms" in shown


def test_a_model_without_a_price_is_listed_with_the_reason(tmp_path):
    file = tmp_path / "catalog.yaml"
    file.write_text("models: {gpt-9: {provider: openai, wire: gpt-9, context: 9, latency_ms: 1, quality: 9}}", encoding="utf-8")
    result = hil("models", "show", "gpt-9", "--json", load=lambda: Catalogue.load(file))
    row = json.loads(result.stdout)
    assert row["routable"] is False
    assert row["reason"].startswith("no price: genai-prices has no model 'gpt-9'")
    assert "no price" in hil("models", "list", load=lambda: Catalogue.load(file)).stdout


def test_show_finds_a_model_by_its_wire_name():
    assert json.loads(hil("models", "show", "claude-3-haiku-20240307", "--json").stdout)["name"] == "claude-3-haiku"
    assert "cl100k_base" in hil("models", "show", "gpt-4").stdout


def test_show_of_an_unknown_model_says_where_to_look():
    result = hil("models", "show", "gpt-99")
    assert (result.exit_code, "no model 'gpt-99': `hil models list`" in result.stderr) == (1, True)


def test_a_broken_catalogue_file_ends_the_command_with_all_its_faults():
    def broken() -> Catalogue:
        raise CatalogueError(["this is wrong", "and that"])

    result = hil("models", "list", load=broken)
    assert (result.exit_code, result.stderr) == (1, "error: this is wrong\nerror: and that\n")


LINES = ["", "Hello", "<|endoftext|> Größe 42 今日", "two\nlines", "\u2028 \x85 a line break to some", "x" * 5000]


def written(*values: object) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def counts(model: Model | None) -> list[int]:
    assert model is not None
    return [TokenCounter().count_text(model, line) for line in LINES]


@pytest.mark.parametrize("name", ["gpt-4", "gpt-5.4", "claude-3-opus"])
def test_tokens_prints_one_number_a_line_from_a_file_or_standard_input(name, tmp_path: Path):
    file = tmp_path / "texts.jsonl"
    file.write_bytes(written(*LINES))
    expected = counts(catalogue().find(name))
    for result in (
        hil("tokens", "--model", name, str(file), "--json"),
        hil("tokens", "--model", name, "--json", "-", given=written(*LINES)),
    ):
        assert [json.loads(line) for line in result.stdout.splitlines()] == expected
        assert result.exit_code == 0


def test_tokens_reads_a_last_line_without_an_end_windows_lines_and_a_byte_order_mark():
    result = hil("tokens", "--model", "gpt-4", "--json", given=b'\xef\xbb\xbf"Hello"\r\n"Hello"')
    assert result.stdout == "1\n1\n"


def test_tokens_of_a_model_outside_the_catalogue_says_how_it_counted():
    known = hil("tokens", "--model", "gpt-4o", "--json", given=written("Hello"))
    assert (known.stdout, known.stderr) == ("1\n", "gpt-4o is not in the catalogue: counted with o200k_base, which is its own\n")
    unknown = hil("tokens", "--model", "mystery", "--json", given=written("Hello"))
    assert (unknown.stdout, unknown.stderr) == (
        "1\n",
        "mystery is not in the catalogue: counted with o200k_base, and only about right\n",
    )


def test_tokens_says_that_a_count_for_claude_is_an_estimate():
    assert "estimate" in hil("tokens", "--model", "claude-3-opus", "--json", given=written("Hello")).stderr


def test_tokens_prints_a_table_with_the_total_and_its_price():
    shown = hil("tokens", "--model", "gpt-4", given=written("Hello", "[red]Hello[/red]")).stdout
    assert "[red]Hello[/red]" in shown
    assert "together, for gpt-4, $0.00024 as one input" in shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"12", "line 2 is a number, not a JSON string"),
        (b'{"text": "x"}', "line 2 is an object, not a JSON string"),
        (b"null", "line 2 is null, not a JSON string"),
        (b"hello", "line 2 is not JSON"),
        (b"", "line 2 is not JSON (it is empty)"),
        (b'"\xff"', "line 2 is not UTF-8"),
        (b'"a" "b"', "line 2 is not JSON (Extra data"),
        (b"[" * 100_000, "line 2 is"),
    ],
)
def test_a_line_that_is_no_json_string_ends_the_count_with_its_number(line, said):
    result = hil("tokens", "--model", "gpt-4", "--json", given=b'"ok"\n' + line + b'\n"never"\n')
    assert (result.exit_code, result.stdout) == (1, "1\n")
    assert said in result.stderr


def test_a_file_that_is_not_there_is_named():
    result = hil("tokens", "--model", "gpt-4", "nowhere.jsonl")
    assert (result.exit_code, "cannot read nowhere.jsonl: No such file" in result.stderr) == (1, True)
