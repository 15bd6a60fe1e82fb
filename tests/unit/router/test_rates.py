"""What a call costs, to the micro-dollar."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.pricelist import NoPrice, listed
from agents.router.rates import PriceError, Tier, compile_rates, from_row


@cache
def catalogue() -> Catalogue:
    return Catalogue.load()


def sold_by(name: str) -> tuple[str, str]:
    """Whose price list has this model: a stand-in's is that of the model it stands for."""
    model = catalogue().models[name]
    model = catalogue().models[model.as_if] if model.as_if else model
    return model.provider, model.wire


SOLD = [name for name, model in catalogue().models.items() if model.provider != "local"]


def theirs(name: str, usage: Usage) -> int:
    """genai-prices' own calculation, in micro-dollars rounded half up."""
    provider, wire = sold_by(name)
    told = TheirUsage(
        input_tokens=usage.input_text_tokens,
        cache_read_tokens=usage.cached_text_tokens,
        cache_write_tokens=usage.cache_write_text_tokens,
        output_tokens=usage.output_text_tokens,
        output_reasoning_tokens=usage.reasoning_text_tokens,
    )
    noon = datetime.combine(catalogue().priced_on, time(12), UTC)
    price = calc_price(told, wire, provider_id=provider, genai_request_timestamp=noon).total_price
    return int((price * 1_000_000).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def borders(name: str) -> list[int]:
    return [tier["above"] for tier in catalogue().models[name].rates.row.get("tiers", ())]


def usages(name: str) -> list[Usage]:
    inputs = [0, 1, 3, 999, 12_345, 99_999, 900_001, *(border + off for border in borders(name) for off in (-1, 0, 1))]
    return [
        Usage(given, given * cached // 100, given * written // 100, made, made * thought // 100)
        for given in inputs
        for cached, written in ((0, 0), (100, 0), (0, 100), (37, 41), (50, 50))
        for made, thought in ((0, 0), (1, 0), (777, 33), (64_000, 100))
    ]


@pytest.mark.parametrize("name", SOLD)
def test_our_price_is_genai_prices_own_for_every_model_it_knows(name):
    rates = catalogue().models[name].rates
    assert [rates.micro_usd(usage) for usage in usages(name)] == [theirs(name, usage) for usage in usages(name)]


def test_the_models_compared_include_the_first_six_and_some_with_tiers():
    """Or the comparison above would say less than it seems to."""
    assert {"gpt-4-turbo", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet", "claude-3-haiku"} <= {*SOLD}
    assert len([name for name in SOLD if borders(name)]) >= 5


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_our_price_is_genai_prices_own_for_any_usage(data):
    name = data.draw(st.sampled_from(SOLD))
    given_in = data.draw(st.integers(0, 1_000_000))
    cached = data.draw(st.integers(0, given_in))
    written = data.draw(st.integers(0, given_in - cached))
    made = data.draw(st.integers(0, 200_000))
    usage = Usage(given_in, cached, written, made, data.draw(st.integers(0, made)))
    assert catalogue().models[name].rates.micro_usd(usage) == theirs(name, usage)


@pytest.mark.parametrize("name", SOLD)
def test_the_row_in_an_event_prices_a_call_again(name):
    rates = catalogue().models[name].rates
    again = from_row(rates.row)
    assert again.row == rates.row
    assert [again.micro_usd(usage) for usage in usages(name)] == [rates.micro_usd(usage) for usage in usages(name)]


def test_a_tier_prices_the_whole_call_from_one_token_above_its_border():
    rates = compile_rates(
        "x", {"input": Decimal(3), "output": Decimal(15)}, [tier(200_000, "6", "22.5"), tier(500_000, "9", "30")]
    )
    costs = [rates.micro_usd(Usage(given, output_text_tokens=10)) for given in (200_000, 200_001, 500_000, 500_001)]
    assert costs == [600_150, 1_200_231, 3_000_225, 4_500_309]


def tier(above: int, given: str, made: str) -> Tier:
    return Tier(above, {"input": Decimal(given), "output": Decimal(made)})


def test_without_prices_of_their_own_the_cache_costs_as_input_and_reasoning_as_output():
    rates = compile_rates("x", {"input": Decimal(2), "output": Decimal(8)})
    assert rates.micro_usd(Usage(1000, 300, 200, 100, 50)) == rates.micro_usd(Usage(1000, output_text_tokens=100)) == 2_800


def test_reasoning_may_have_a_price_of_its_own():
    rates = compile_rates("x", {"input": Decimal(0), "output": Decimal(8), "reasoning": Decimal(3)})
    assert rates.micro_usd(Usage(output_text_tokens=100, reasoning_text_tokens=40)) == 60 * 8 + 40 * 3


def test_a_cost_is_rounded_half_up_once_a_call():
    rates = compile_rates("x", {"input": Decimal("0.5"), "output": Decimal("0.25")})
    assert [rates.micro_usd(Usage(given)) for given in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert [rates.micro_usd(Usage(1, output_text_tokens=made)) for made in (0, 1, 2, 4)] == [1, 1, 1, 2]


@settings(deadline=None)
@given(*[st.integers(-10, 2_000_000)] * 5)
def test_no_usage_however_wrong_costs_less_than_nothing_or_more_than_all_of_it_at_the_dearest_price(a, b, c, d, e):
    prices = {"input": "2", "cached": "0.2", "cache_write": "2.5", "output": "10", "reasoning": "12"}
    rates = compile_rates("x", {kind: Decimal(price) for kind, price in prices.items()})
    assert 0 <= rates.micro_usd(Usage(a, b, c, d, e)) <= max(a, 0) * 2.5 + max(d, 0) * 12 + 1


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ({"input": "1"}, "`input` and one for `output`"),
        ({"input": "-1", "output": "1"}, "the price of `input` is -1"),
        ({"input": "NaN", "output": "1"}, "the price of `input` is NaN"),
        ({"input": "1", "output": "1", "thinking": "1"}, "no price for `thinking`"),
        ({"input": "cheap", "output": "1"}, "no number"),
    ],
)
def test_a_row_that_is_no_price_is_refused_in_words(prices, said):
    with pytest.raises(PriceError, match=said):
        from_row({"source": "x", "usd_per_1m": prices})


def test_two_tiers_with_one_border_are_refused():
    with pytest.raises(PriceError, match="its own border"):
        compile_rates("x", {"input": Decimal(1), "output": Decimal(1)}, [tier(5, "1", "1"), tier(5, "2", "2")])


def test_a_price_that_changed_is_the_one_of_the_day():
    """Anthropic dropped the tiers of claude-opus-4-6 on 13 March 2026."""
    before, after = (listed("anthropic", "claude-opus-4-6", on=datetime(2026, 3, day).date()) for day in (12, 13))
    assert [rates.micro_usd(Usage(300_000)) for rates in (before, after)] == [3_000_000, 1_500_000]


@pytest.mark.parametrize(
    ("provider", "wire", "said"),
    [("openai", "no-such-model", "no model"), ("openai", "whisper-1", "no price for text"), ("nobody", "gpt-4", "no model")],
)
def test_what_cannot_be_priced_by_text_tokens_has_no_price_and_says_why(provider, wire, said):
    with pytest.raises(NoPrice, match=said):
        listed(provider, wire, on=datetime(2026, 11, 1).date())


def test_what_is_billed_by_more_than_text_tokens_has_no_price():
    """Perplexity charges for each request: a price by text tokens alone would be too low."""
    with pytest.raises(NoPrice, match="requests_kcount"):
        listed("perplexity", "sonar", on=datetime(2026, 11, 1).date())
