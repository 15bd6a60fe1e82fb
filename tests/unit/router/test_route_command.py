"""`hil route` and `hil router`: what they print, and what they say when they cannot."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from agents.router.catalogue import Catalogue
from agents.router.installs import configured, reachable
from connectors.cli import evaluating, routing
from connectors.cli.routing import Ground

SAMPLE = Path(__file__).parents[3] / "bench" / "data" / "router_outcomes.jsonl"


@cache
def catalogue() -> Catalogue:
    return Catalogue.load(on=date(2026, 11, 25))


def hil(*arguments: str, given: str = "", environ: dict[str, str] | None = None) -> Result:
    app = typer.Typer()
    everything = Ground(catalogue(), {model.provider for model in catalogue().models.values()})
    here = Ground(configured(catalogue(), environ or {}), reachable(catalogue(), environ or {}))
    app.add_typer(routing.build(lambda: everything, lambda: here))
    app.add_typer(evaluating.build(catalogue, lambda texts: np.zeros((len(texts), 1))))
    return CliRunner().invoke(app, list(arguments), input=given)


def route(*arguments: str, **more) -> dict:
    return json.loads(hil("route", "--json", *arguments, **more).stdout)


def test_hello_on_fast_picks_a_small_model_for_less_than_a_cent():
    found = route("--profile", "fast", "--message", "Hello")
    assert found["chosen"]["model"] in ("gpt-3.5-turbo", "claude-3-haiku")
    assert found["chosen"]["estimated_cost_usd"] < 0.01
    assert found["runner_up"] in ("gpt-3.5-turbo", "claude-3-haiku")
    assert {row["model"] for row in found["models"]} == set(catalogue().models)
    assert all(row["left_out"] for row in found["models"] if row["score"] is None)


def test_ten_thousand_words_for_a_tenth_of_a_cent_are_refused_with_every_models_reason():
    result = hil("route", "--profile", "fast", "--message", "-", "--max-cost", "0.001", "--json", given="word " * 10_000)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["chosen"]) == (1, None)
    assert all(row["left_out"] for row in found["models"])


def test_the_table_names_the_chosen_the_left_out_and_the_fallbacks():
    said = hil("route", "--profile", "fast", "--message", "Hello", "--max-cost", "0.005").stdout
    assert "→" in said
    assert "over the limit of $0.005" in said
    assert "then, if it fails: gpt-3.5-turbo" in said


def test_what_is_required_a_model_must_be_able_to_do():
    found = route("--profile", "fast", "--message", "Hello", "--require", "vision,tools")
    reasons = {row["model"]: row["left_out"] for row in found["models"]}
    assert reasons["gpt-3.5-turbo"] == "cannot do vision"
    assert found["chosen"]["model"] == "claude-3-haiku"


def test_here_goes_by_what_this_installation_can_ask():
    assert route("--profile", "fast", "--message", "Hello", "--here")["chosen"]["model"] == "rehearsal-fast"
    found = route("--profile", "fast", "--message", "Hello", "--here", environ={"OPENAI_API_KEY": "x"})
    assert found["chosen"]["provider"] == "openai"
    reasons = {row["model"]: row["left_out"] for row in found["models"]}
    assert reasons["claude-3-haiku"] == "no provider anthropic is configured: set ANTHROPIC_API_KEY"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-cost", "ten"], "--max-cost is 'ten'"),
        (["--max-cost", "-1"], "--max-cost is '-1'"),
        (["--max-cost", "1e999999999"], "--max-cost is '1e999999999': write dollars from 0 to 1,000,000"),
        (["--require", "flying"], "no capability flying"),
        (["--profile", "fats"], "Did you mean fast?"),
    ],
)
def test_what_cannot_be_is_said(arguments, said):
    result = hil("route", "--message", "Hello", *arguments)
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())


def test_the_sample_is_evaluated():
    report = json.loads(hil("router", "evaluate", str(SAMPLE), "--json").stdout)
    assert (report["prompts"], len(report["targets"])) == (60, 3)
    assert report["always_weak"]["percent_of_strong_quality"] < report["always_strong"]["percent_of_strong_quality"] == 100
    policies = set(report["targets"][0]) - {"percent_of_strong_quality"}
    assert policies == {"router", "length_rule", "random", "oracle", "always_weak", "always_strong"}
    assert "held out" in hil("router", "evaluate", str(SAMPLE)).stdout


def test_a_file_that_is_none_is_said():
    result = hil("router", "evaluate", "nowhere.jsonl")
    assert result.exit_code == 1
    assert "cannot read nowhere.jsonl" in result.stderr


def test_savings_are_shown_beside_random_routing_and_quality():
    report = json.loads(hil("router", "savings", "--json").stdout)
    assert report["as_the_blueprint_gives_it"]["routed_micro_usd"] == 24_600_000
    for prices in ("at_blueprint_prices", "at_todays_prices"):
        assert report[prices]["policies"].keys() == {"always_strong", "routed", "random_same_mix", "always_weak"}
    assert report["at_blueprint_prices"]["policies"]["routed"]["micro_usd"] == 24_600_000
    traffic = json.dumps({"profile": "fast", "input_text_tokens": 1000, "output_text_tokens": 0, "cost_micro_usd": 500})
    recorded = json.loads(hil("router", "savings", "--traffic", "-", "--json", given=traffic).stdout)
    assert recorded["at_blueprint_prices"]["recorded_micro_usd"] == 500
    assert recorded["at_blueprint_prices"]["policies"]["routed"]["micro_usd"] == 500
    assert "at random" in hil("router", "savings").stdout
