"""Recorded calls under other models and prices: the sums, and what would not have fitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.models import Model
from agents.router.whatif import Recorded, what_if


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def model(catalogue: Catalogue, name: str) -> Model:
    found = catalogue.find(name)
    assert found is not None
    return found


def recorded(
    name: str = "gpt-4", *, given: int = 1000, made: int = 100, calls: int = 1, cost: int = 36_000, **more: object
) -> Recorded:
    return Recorded("balanced", name, Usage(input_text_tokens=given, output_text_tokens=made), calls, cost, **more)


def test_calls_are_priced_at_the_model_that_would_have_answered(catalogue: Catalogue):
    """gpt-4 at $0.03 and $0.06 a thousand, claude-3-haiku at $0.00025 and $0.00125."""
    found = what_if([recorded(calls=10, cost=360_000)], catalogue, {"balanced": [model(catalogue, "claude-3-haiku")]})
    assert (found.was_micro_usd, found.would_be_micro_usd) == (360_000, 10 * (250 + 125))
    (line,) = found.lines
    assert (line.model, line.instead, line.calls) == ("gpt-4", "claude-3-haiku", 10)


def test_a_profile_nobody_named_keeps_its_models(catalogue: Catalogue):
    found = what_if([recorded()], catalogue, {"fast": [model(catalogue, "claude-3-haiku")]})
    assert (found.lines[0].instead, found.would_be_micro_usd) == ("gpt-4", 36_000)


def test_a_call_too_long_for_the_first_goes_to_the_next_and_for_all_stays(catalogue: Catalogue):
    small, large = model(catalogue, "gpt-4"), model(catalogue, "claude-3-haiku")
    long = recorded("gpt-4-turbo", given=7_000, made=100, cost=73_000)
    assert what_if([long], catalogue, {"balanced": [small, large]}).lines[0].instead == "claude-3-haiku"
    kept = what_if([long], catalogue, {"balanced": [small]})
    assert (kept.too_long, kept.would_be_micro_usd, kept.lines[0].instead) == (1, 73_000, "gpt-4-turbo")


def test_a_call_that_needs_what_no_model_can_do_stays(catalogue: Catalogue):
    unable = next(each for each in catalogue.models.values() if "reasoning" not in each.capabilities)
    found = what_if([recorded(needs=frozenset({"reasoning"}))], catalogue, {"balanced": [unable]})
    assert (found.cannot, found.too_long, found.would_be_micro_usd) == (1, 0, 36_000)


def test_a_model_without_a_price_is_in_it_at_what_it_cost(catalogue: Catalogue):
    found = what_if([recorded("nobody-knows-it", calls=3)], catalogue, {})
    assert (found.unpriced, found.would_be_micro_usd) == (3, 36_000)


def test_other_prices_alone_make_a_difference(tmp_path: Path):
    own = tmp_path / "catalog.yaml"
    own.write_text('models:\n  gpt-4:\n    usd_per_1m: {input: "1", output: "2"}\n')
    found = what_if([recorded()], Catalogue.load(own), {})
    assert found.would_be_micro_usd == 1000 + 200
