"""Which models there are, what a file of one's own changes, and what a profile means."""

from __future__ import annotations

import re
import socket
from datetime import date
from pathlib import Path

import pytest

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.faults import CatalogueError
from agents.router.profiles import Profile, Weights

ON = date(2026, 11, 25)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load(on=ON)


def own(tmp_path: Path, text: str) -> Catalogue:
    file = tmp_path / "catalog.yaml"
    file.write_text(text, encoding="utf-8")
    return Catalogue.load(file, on=ON)


def faults(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(CatalogueError) as caught:
        own(tmp_path, text)
    return caught.value.faults


# (wire, context, dollars for 1,000 in and out, latency, quality)
ASKED_FOR = {
    "gpt-4-turbo": ("gpt-4-turbo-preview", 128_000, 0.01, 0.03, 3000, 9.5),
    "gpt-4": ("gpt-4", 8_192, 0.03, 0.06, 4000, 10.0),
    "gpt-3.5-turbo": ("gpt-3.5-turbo", 16_384, 0.0005, 0.0015, 800, 7.0),
    "claude-3-opus": ("claude-3-opus-20240229", 200_000, 0.015, 0.075, 3500, 9.8),
    "claude-3-sonnet": ("claude-3-sonnet-20240229", 200_000, 0.003, 0.015, 2000, 8.5),
    "claude-3-haiku": ("claude-3-haiku-20240307", 200_000, 0.00025, 0.00125, 600, 7.5),
}


@pytest.mark.parametrize("name", ASKED_FOR)
def test_the_first_six_models_are_as_they_were_asked_for(catalogue, name):
    wire, context, given, made, latency, quality = ASKED_FOR[name]
    model = catalogue.models[name]
    assert (model.wire, model.context, model.latency_ms, model.quality) == (wire, context, latency, quality)
    assert model.rates.micro_usd(Usage(1_000_000)) == round(given * 1_000 * 1_000_000)
    assert model.rates.micro_usd(Usage(output_text_tokens=1_000_000)) == round(made * 1_000 * 1_000_000)


def test_the_three_profiles_are_as_they_were_asked_for(catalogue):
    assert list(catalogue.profiles.values()) == [
        Profile(
            "fast", ("gpt-3.5-turbo", "claude-3-haiku"), ("gpt-4-turbo", "claude-3-sonnet"), 10_000, 1000, Weights(0.6, 0.3, 0.1)
        ),
        Profile(
            "balanced", ("gpt-4-turbo", "claude-3-sonnet"), ("gpt-4", "claude-3-opus"), 100_000, 3000, Weights(0.33, 0.33, 0.34)
        ),
        Profile(
            "powerful", ("gpt-4", "claude-3-opus"), ("gpt-4-turbo", "claude-3-sonnet"), 1_000_000, 5000, Weights(0.2, 0.2, 0.6)
        ),
    ]


def test_prices_are_read_without_a_network(monkeypatch):
    def refuse(*args: object) -> None:
        raise AssertionError("the catalogue has opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert Catalogue.load().models["gpt-5.4"].rates.micro_usd(Usage(1000)) > 0


def test_a_model_is_found_by_its_name_and_by_what_its_endpoint_calls_it(catalogue):
    assert catalogue.find("gpt-4-turbo-preview") is catalogue.find("gpt-4-turbo") is catalogue.models["gpt-4-turbo"]
    assert catalogue.find("gpt-5") is None


def test_every_model_says_what_its_quality_comes_from_and_can_do_something(catalogue):
    assert [model.name for model in catalogue.models.values() if not model.quality_source or not model.capabilities] == []


def test_no_model_may_write_more_than_its_window(catalogue):
    assert [model.name for model in catalogue.models.values() if (model.max_output or 0) > model.context] == []


def test_a_stand_in_has_the_price_and_the_quality_of_the_model_it_stands_for(catalogue):
    stand_in, real = catalogue.models["rehearsal-powerful"], catalogue.models["gpt-4"]
    assert (stand_in.as_if, stand_in.provider, stand_in.wire) == ("gpt-4", "rehearsal", "rehearsal-powerful")
    assert (stand_in.rates, stand_in.quality) == (real.rates, real.quality)


def test_a_stand_in_for_a_model_with_a_list_price_has_that_price(tmp_path):
    made = own(tmp_path, "models: {mine: {provider: rehearsal, wire: mine, as_if: gpt-5.4}}")
    assert made.models["mine"].rates == made.models["gpt-5.4"].rates


# A file of one's own


def test_a_file_of_ones_own_changes_what_it_names_and_nothing_else(catalogue, tmp_path):
    made = own(tmp_path, "models: {gpt-5.4: {latency_ms: 2500, region: eu, usd_per_1m: {input: 1.5, output: 9}}}")
    changed, before = made.models["gpt-5.4"], catalogue.models["gpt-5.4"]
    assert (changed.latency_ms, changed.region, changed.quality, changed.context) == (2500, "eu", before.quality, before.context)
    assert changed.rates.micro_usd(Usage(1000, 1000, output_text_tokens=1000)) == 10_500
    assert changed.rates.row == {"source": "catalogue: gpt-5.4", "usd_per_1m": {"input": "1.5", "output": "9"}}
    assert {name: model for name, model in made.models.items() if name != "gpt-5.4"} == {
        name: model for name, model in catalogue.models.items() if name != "gpt-5.4"
    }


def test_a_model_that_is_null_is_gone_from_the_profiles_too(tmp_path):
    made = own(tmp_path, "models: {gpt-4: null}")
    assert "gpt-4" not in made.models
    assert (made.profiles["powerful"].primary, made.profiles["balanced"].fallback) == (("claude-3-opus",), ("claude-3-opus",))
    assert made.models["rehearsal-powerful"].rates.row["usd_per_1m"] == {"input": "30", "output": "60"}


def test_a_price_of_ones_own_replaces_the_former_one_whole(catalogue, tmp_path):
    """Cache prices of another price list would be wrong beside it."""
    made = own(tmp_path, "models: {claude-3-haiku: {usd_per_1m: {input: 1, output: 2}}}")
    assert made.models["claude-3-haiku"].rates.row["usd_per_1m"] == {"input": "1", "output": "2"}


def test_a_model_of_ones_own_is_added_with_tiers(tmp_path):
    text = """
models:
  house:
    {provider: local, wire: "house:70b", context: 65536, latency_ms: 900, quality: 8, capabilities: [tools],
     usd_per_1k: {input: "0.001", output: "0.002"}, tiers: [{above: 1000, input: "0.002", output: "0.004"}]}
profiles:
  fast: {primary: [house:70b]}
"""
    made = own(tmp_path, text)
    assert [made.models["house"].rates.micro_usd(Usage(tokens)) for tokens in (1000, 1001)] == [1000, 2002]
    assert made.profiles["fast"].primary == ("house",)
    assert made.profiles["fast"].fallback == ("gpt-4-turbo", "claude-3-sonnet")


def test_a_model_without_a_price_is_known_and_never_routed_to(tmp_path):
    made = own(tmp_path, "models: {gpt-9: {provider: openai, wire: gpt-9, context: 1000, latency_ms: 1, quality: 9}}")
    assert made.find("gpt-9") is None
    assert "gpt-9" not in made.models
    assert made.known("gpt-9") == "gpt-9"
    assert made.unpriced["gpt-9"].reason == (
        "no price: genai-prices has no model 'gpt-9' of openai. Give it `usd_per_1m` in catalog.yaml"
    )


def test_every_fault_of_a_file_is_told_at_once(tmp_path):
    told = faults(
        tmp_path,
        """
models:
  a: {provider: openai, wire: a, context: big, latency_ms: 1, quality: 11, colour: red}
  b: {provider: openai, wire: b, context: 1, latency_ms: 1}
  c: {provider: rehearsal, wire: c, as_if: nothing}
  gpt-4: {usd_per_1k: {input: -1, output: 1}}
""",
    )
    assert [fault[:40] for fault in told] == [
        "the model gpt-4: `usd_per_1k.input` is '-1'"[:40],
        "the model rehearsal-powerful: `usd_per_1k.input` is '-1'"[:40],
        "the model a: `context` is 'big': input should be"[:40],
        "the model a: `quality` is '11': input should be"[:40],
        "the model a has no setting `colour`: see docs"[:40],
        "the model b needs `quality`",
        "the model c stands for 'nothing', which the"[:40],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [", "is no YAML"),
        ("[gpt-4]", "holds a list, not a mapping: begin it with `models:` or `profiles:`"),
        ("models: " + "[" * 20_000, "nested deeper than 64 levels"),
        ("models: {gpt-4: {usd_per_1m: {input: '1e400000000', output: 1}}}", "less than or equal to 1000000"),
        ("models: {gpt-4: {usd_per_1m: {input: 1, output: '1e-400000000'}}}", "no more than 18 decimal places"),
        ("models: {gpt-4: {usd_per_1m: {input: 1e999999, output: 1}}}", "line 1: `1e999999` is no JSON number"),
        ("models: {gpt-4: {usd_per_1m: {input: true, output: 1}}}", "not true"),
        ("models: {gpt-4: {context: " + "9" * 900_000 + "}}", "no number we can hold"),
        ("models: {gpt-4: {context: 1e18}}", "less than or equal to 1000000000"),
        ("models: {gpt-4: {latency_ms: 1e15}}", "less than or equal to"),
        ("models: {gpt-4: {latency_ms: 1:30}}", "`latency_ms`"),
        ("models: {gpt-4: {max_output: true}}", "not true"),
        ("profiles: {fast: {max_cost_usd: '1e900000'}}", "less than or equal to 1000000000"),
        ("profiles: {fast: {max_latency_ms: 1e300}}", "`max_latency_ms`"),
        ("profiles: {fast: {weights: {latency: 1e308, cost: 1, quality: 1}}}", "less than or equal to 1000000"),
        ("models: {gpt-4: {context: 5, context: 6}}", "given twice"),
        ("modells: {}", "no setting `modells`"),
        ("models: {gpt-4: {encoding: gpt2}}", "the encoding 'gpt2': use cl100k_base, o200k_base, or `token_ratio`"),
        ("models: {gpt-4: {usd_per_1m: {input: 1, output: 1}, usd_per_1k: {input: 1, output: 1}}}", "both"),
        ("models: {gpt-44: null}", "gpt-44 is removed, but the catalogue has none of that name"),
        ("models: {gpt-5.4: {tiers: [{above: 5, input: 1, output: 1}]}}", "`tiers` without"),
        ("models: {rehearsal-fast: {usd_per_1k: {input: 1, output: 1}}}", "drop one of them"),
        ("profiles: {fast: {primary: [gpt-7]}}", "names 'gpt-7', not in the catalogue"),
        ("profiles: {mine: {primary: []}}", "has no model"),
        ("profiles: {mine: quick}", "starts from 'quick', which is none: use fast, balanced, powerful"),
        ("profiles: {mine: 3}", "neither a profile's name nor a mapping"),
        ("profiles: {mine: {speed: 3}}", "no setting `speed`"),
        ("profiles: {fast: {weights: {latency: 0, cost: 0, quality: 0}}}", "all 0"),
        ("profiles: {fast: {max_cost_usd: 0}}", "`max_cost_usd` is '0'"),
        ("profiles: {a: b, b: {profile: a}}", "a, b start from one another"),
    ],
)
def test_a_fault_says_what_is_wrong_and_what_to_write(tmp_path, text, said):
    assert said in " ".join(faults(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CatalogueError, match=r"nowhere\.yaml cannot be read.*HIL_CATALOG"):
        Catalogue.load(tmp_path / "nowhere.yaml")


def test_the_example_in_the_guide_is_a_file_that_loads(tmp_path):
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "router.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(models:.*?)```", guide, re.DOTALL)
    made = own(tmp_path, example)
    assert made.models["gpt-5.4"].rates.micro_usd(Usage(272_001, 272_001)) == 108_800
    assert (made.profiles["fast"].max_latency_ms, made.profiles["fast"].primary) == (1500, ("gpt-3.5-turbo", "claude-3-haiku"))
    assert made.profiles["triage"] == Profile(
        "triage", ("house-70b", "gpt-5.4-nano"), ("claude-haiku-4-5",), 2_000, 1500, Weights(0.2, 0.6, 0.2)
    )


# Profiles of a workflow


def test_a_workflow_may_name_profiles_and_make_its_own(catalogue):
    made = catalogue.with_profiles(
        {
            "fast": "fast",
            "quick": "fast",
            "careful": {
                "profile": "mine",
                "max_latency_ms": 9000,
                "weights": {"latency": 0, "cost": 0.1, "quality": 0.9},
            },
            "mine": {"primary": ["gpt-5.4-mini", "claude-sonnet-5-5"], "fallback": "gpt-5.4", "max_cost_usd": "0.025"},
        }
    )
    assert made.profiles["quick"] == Profile(**{**fields(catalogue.profiles["fast"]), "name": "quick"})
    assert made.profiles["mine"] == Profile(
        "mine", ("gpt-5.4-mini", "claude-sonnet-5-5"), ("gpt-5.4",), 25_000, 3000, Weights(0.33, 0.33, 0.34)
    )
    assert made.profiles["careful"] == Profile(
        "careful", ("gpt-5.4-mini", "claude-sonnet-5-5"), ("gpt-5.4",), 25_000, 9000, Weights(0, 0.1, 0.9)
    )
    assert [*catalogue.profiles] == ["fast", "balanced", "powerful"]


def fields(profile: Profile) -> dict[str, object]:
    return {name: getattr(profile, name) for name in Profile.__slots__}


def test_a_new_profile_with_models_of_its_own_falls_back_to_no_others(catalogue):
    made = catalogue.with_profiles({"house": {"models": ["gpt-oss:20b"]}})
    assert (made.profiles["house"].primary, made.profiles["house"].fallback) == (("gpt-oss-20b",), ())
