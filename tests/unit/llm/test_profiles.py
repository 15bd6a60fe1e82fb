"""Models, prices and who answers for which profile."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import Fatal
from connectors.llm.profiles import PROFILES, Price, catalogue, configure

tokens = st.integers(min_value=0, max_value=10_000_000)
SHOP = "http://127.0.0.1:1/v1"


def names(settings):
    return [settings.models[profile].wire for profile in PROFILES]


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("gpt-4-turbo", 40_000),
        ("gpt-4", 90_000),
        ("gpt-3.5-turbo", 2_000),
        ("claude-3-opus", 90_000),
        ("claude-3-sonnet", 18_000),
        ("claude-3-haiku", 1_500),
    ],
)
def test_a_thousand_tokens_in_and_out_cost_what_the_catalogue_says(name, cost):
    assert catalogue()[name].price.micro_usd(input_text_tokens=1000, output_text_tokens=1000) == cost


def test_costs_are_rounded_half_up_once_a_call():
    price = Price(input=Decimal("0.0005"))
    assert [price.micro_usd(input_text_tokens=count, output_text_tokens=0) for count in (0, 1, 2, 3)] == [0, 1, 1, 2]


@given(tokens, tokens, tokens)
def test_a_cost_is_never_negative_and_caching_never_dearer(given_in, given_out, cached):
    price = catalogue()["gpt-5.4"].price
    with_cache = price.micro_usd(input_text_tokens=given_in, output_text_tokens=given_out, cached_text_tokens=cached)
    assert 0 <= with_cache <= price.micro_usd(input_text_tokens=given_in, output_text_tokens=given_out)


def test_stand_ins_are_booked_as_the_models_they_stand_for_and_marked():
    found = catalogue()["rehearsal-powerful"]
    assert (found.as_if, found.price, found.provider) == ("gpt-4", catalogue()["gpt-4"].price, "rehearsal")


def test_without_any_setting_the_rehearsal_answers():
    assert names(configure({}, rehearsal_url=SHOP)) == ["rehearsal-fast", "rehearsal-balanced", "rehearsal-powerful"]


def test_an_openai_key_brings_openai_and_names_its_variable():
    settings = configure({"OPENAI_API_KEY": "sk-x", "HIL_MODEL_FAST": "gpt-4.9"}, rehearsal_url=SHOP)
    assert names(settings) == ["gpt-4.9", "gpt-5.4-mini", "gpt-5.4"]
    assert (settings.endpoint.key_variable, settings.endpoint.base_url) == ("OPENAI_API_KEY", "https://api.openai.com/v1")


def test_an_endpoint_of_ones_own_wins_and_one_model_is_enough():
    environ = {"HIL_LLM_BASE_URL": "http://127.0.0.1:11434/v1", "HIL_MODEL_BALANCED": "qwen3", "OPENAI_API_KEY": "sk-x"}
    settings = configure(environ)
    assert names(settings) == ["qwen3"] * 3
    assert settings.models["fast"].price.micro_usd(input_text_tokens=9, output_text_tokens=9) == 0
    assert settings.endpoint.api_key != "sk-x"


def test_a_known_model_at_an_endpoint_of_ones_own_keeps_its_price():
    settings = configure({"HIL_LLM_BASE_URL": SHOP, "HIL_MODEL_FAST": "claude-3-haiku-20240307"})
    assert settings.models["fast"].name == "claude-3-haiku"


def test_no_endpoint_at_all_is_fatal_and_says_what_to_set():
    with pytest.raises(Fatal, match="OPENAI_API_KEY"):
        configure({})
