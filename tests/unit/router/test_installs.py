"""Which models serve a profile, by what the environment has: as each kind of installation starts today."""

from __future__ import annotations

from datetime import date

import pytest

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.installs import NO_LIMIT_MS, configured, reachable

OWN = {"HIL_LLM_BASE_URL": "http://127.0.0.1:11434/v1"}
OPENAI, ANTHROPIC = {"OPENAI_API_KEY": "sk-x"}, {"ANTHROPIC_API_KEY": "sk-y"}
PROFILES = ("fast", "balanced", "powerful")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load(on=date(2026, 11, 25))


def primaries(catalogue: Catalogue, environ: dict[str, str]) -> list[tuple[str, ...]]:
    made = configured(catalogue, environ)
    return [made.profiles[profile].primary for profile in PROFILES]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ["rehearsal-fast", "rehearsal-balanced", "rehearsal-powerful"]),
        (OWN, ["rehearsal-fast", "rehearsal-balanced", "rehearsal-powerful"]),
        (OPENAI, ["gpt-5.4-nano", "gpt-5.4-mini", "gpt-5.4"]),
        (ANTHROPIC, ["claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-5-5"]),
        ({**OWN, "HIL_MODEL_BALANCED": "qwen3:8b"}, ["qwen3:8b"] * 3),
        ({**OWN, "HIL_MODEL_FAST": "small", "HIL_MODEL_POWERFUL": "large"}, ["small", "large", "large"]),
        ({**OPENAI, "HIL_MODEL_FAST": "gpt-6-luna"}, ["gpt-6-luna", "gpt-5.4-mini", "gpt-5.4"]),
        ({"HIL_MODEL_FAST": "rehearsal-powerful"}, ["rehearsal-powerful", "rehearsal-balanced", "rehearsal-powerful"]),
    ],
)
def test_the_primary_of_each_profile_follows_from_the_environment(catalogue, environ, expected):
    assert primaries(catalogue, environ) == [(name,) for name in expected]


def test_with_both_clouds_a_profile_has_a_primary_of_each(catalogue):
    assert primaries(catalogue, {**OPENAI, **ANTHROPIC})[0] == ("gpt-5.4-nano", "claude-haiku-4-5")


def test_the_other_models_of_a_profile_become_its_fallbacks(catalogue):
    profile = configured(catalogue, OPENAI).profiles["fast"]
    assert profile.fallback == ("gpt-3.5-turbo", "claude-3-haiku", "gpt-4-turbo", "claude-3-sonnet")
    assert profile.max_latency_ms == catalogue.profiles["fast"].max_latency_ms


def test_a_named_model_that_was_a_fallback_is_not_its_own_fallback(catalogue):
    profile = configured(catalogue, {**OPENAI, "HIL_MODEL_FAST": "gpt-4-turbo"}).profiles["fast"]
    assert (profile.primary, profile.fallback) == (("gpt-4-turbo",), ("gpt-3.5-turbo", "claude-3-haiku", "claude-3-sonnet"))


@pytest.mark.parametrize("environ", [{}, {**OWN, "HIL_MODEL_FAST": "x"}, {**OPENAI, "HIL_MODEL_FAST": "gpt-4"}])
def test_who_names_the_one_model_has_accepted_its_latency(catalogue, environ):
    """A slow machine must not leave a profile without any model."""
    assert configured(catalogue, environ).profiles["fast"].max_latency_ms == NO_LIMIT_MS


def test_at_an_endpoint_of_ones_own_a_known_model_keeps_its_price_and_is_asked_there(catalogue):
    model = configured(catalogue, {**OWN, **OPENAI, "HIL_MODEL_FAST": "gpt-4-turbo-preview"}).models["gpt-4-turbo"]
    assert (model.provider, model.rates) == ("local", catalogue.models["gpt-4-turbo"].rates)


def test_an_unknown_model_is_free_at_an_endpoint_of_ones_own(catalogue):
    model = configured(catalogue, {**OWN, "HIL_MODEL_FAST": "qwen3:8b"}).models["qwen3:8b"]
    assert (model.provider, model.wire, model.rates.micro_usd(Usage(10**6, output_text_tokens=10**6))) == ("local", "qwen3:8b", 0)


def test_a_model_that_only_the_price_list_knows_gets_price_window_and_encoding_from_there(catalogue):
    model = configured(catalogue, {**OPENAI, "HIL_MODEL_FAST": "gpt-4o-mini"}).models["gpt-4o-mini"]
    assert (model.rates.micro_usd(Usage(10**6)), model.context, model.encoding) == (150_000, 128_000, "o200k_base")


def test_a_cloud_model_nobody_can_price_is_not_routable_and_says_why(catalogue):
    made = configured(catalogue, {**OPENAI, "HIL_MODEL_FAST": "gpt-4.9"})
    assert "gpt-4.9" not in made.models
    assert made.unpriced["gpt-4.9"].reason.startswith("no price: genai-prices has no model 'gpt-4.9' of openai")


def test_the_catalogue_itself_is_not_changed(catalogue):
    before = dict(catalogue.models), dict(catalogue.profiles)
    configured(catalogue, {**OWN, "HIL_MODEL_FAST": "gpt-4"})
    assert (dict(catalogue.models), dict(catalogue.profiles)) == before


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("rehearsal",)),
        (OPENAI, ("openai",)),
        ({**OPENAI, "ANTHROPIC_API_KEY": " "}, ("openai",)),
        ({**OPENAI, **ANTHROPIC}, ("openai", "anthropic")),
        ({**OPENAI, **OWN}, ("openai", "local", "rehearsal")),
    ],
)
def test_a_provider_is_reachable_when_its_variable_is_set(catalogue, environ, expected):
    assert reachable(catalogue, environ) == expected
