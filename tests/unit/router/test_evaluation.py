"""Judging routing: what each policy reaches, that thresholds are chosen without the prompts they are judged on, and the sums."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ports import Usage
from agents.router.evaluation.curves import Stakes, perfect, random_share, threshold_for
from agents.router.evaluation.difficulty import learn, surface
from agents.router.evaluation.outcomes import Outcome, UnusableOutcomes, places, read_outcomes
from agents.router.evaluation.report import evaluate
from agents.router.evaluation.savings import Call, UnusableTraffic, as_given, compared, read_traffic, typical
from connectors.cli.ports import Seen
from connectors.cli.records import _print as watch
from tests.unit.router.worlds import BLUEPRINT

MODELS = {"fast": BLUEPRINT["gpt-3.5-turbo"], "balanced": BLUEPRINT["gpt-4-turbo"], "powerful": BLUEPRINT["gpt-4"]}


def world(count: int, *, telling: bool, seed: int = 1) -> tuple[list[Outcome], Stakes, np.ndarray, np.ndarray]:
    """Outcomes where `hard` in the prompt means that the weak model fails, or where nothing in it means anything."""
    rng = np.random.default_rng(seed)
    hard = rng.random(count) < 0.4
    weak = np.where(hard if telling else rng.random(count) < 0.4, 0.0, 1.0)
    prompts = [f"{'hard' if each else 'easy'} question {at}" for at, each in enumerate(hard)]
    outcomes = [Outcome(prompt, 1.0, float(right)) for prompt, right in zip(prompts, weak, strict=True)]
    stakes = Stakes(np.ones(count), weak, np.full(count, 100.0), np.full(count, 5.0))
    features = np.column_stack([hard.astype(float), rng.random(count)])
    return outcomes, stakes, features, rng.random(count)


def at(report: dict, percent: int) -> dict:
    return next(each for each in report["targets"] if each["percent_of_strong_quality"] == percent)


def test_where_prompts_tell_their_difficulty_the_router_comes_near_the_oracle():
    report = evaluate(*world(400, telling=True), [90, 95, 98])
    for percent in (90, 95, 98):
        target = at(report, percent)
        assert target["router"]["held_out"]["reached"]
        assert target["router"]["held_out"]["cost_percent_of_strong"] < 50
        assert target["random"]["hindsight"]["cost_percent_of_strong"] > 75
        assert target["oracle"]["cost_percent_of_strong"] <= target["router"]["hindsight"]["cost_percent_of_strong"]


def test_where_prompts_tell_nothing_the_router_is_no_better_than_random_and_says_so():
    """A judge that let a policy learn from the prompts it is judged on would show a gain here."""
    report = evaluate(*world(400, telling=False), [90])
    routed, random = at(report, 90)["router"]["held_out"], at(report, 90)["random"]["same_mix_as_router"]
    assert abs(routed["percent_of_strong_quality"] - random["percent_of_strong_quality"]) < 6
    assert routed["cost_percent_of_strong"] == pytest.approx(random["cost_percent_of_strong"], abs=0.01)


def test_predictions_for_prompts_that_were_learned_from_come_from_the_others():
    """Noise: what was left out cannot be predicted, what was not could be learned by heart."""
    rng = np.random.default_rng(2)
    features, gains = rng.random((60, 50)), rng.choice([-1.0, 0.0, 1.0], 60)
    learned = learn(features, gains, np.arange(60))
    assert np.corrcoef(learned.held_out, gains)[0, 1] < 0.35


def test_a_prompt_that_occurs_twice_is_judged_and_learned_from_together():
    found = places([Outcome(f"p{at % 10}", 1, 0) for at in range(40)])
    assert all(found[at] == found[at % 10] for at in range(40))
    assert set(found) == set(range(10))


def test_a_prompt_that_occurs_twice_is_not_foreseen_from_its_other_occurrence():
    """Noise, each prompt five times: who learned a prompt by heart would know the gain of the one that was left out."""
    rng = np.random.default_rng(2)
    features, gains = rng.random((60, 50)), rng.choice([-1.0, 0.0, 1.0], 60)
    which = rng.permutation(np.repeat(np.arange(60), 5))
    learned = learn(features[which], gains[which], which)
    assert np.corrcoef(learned.held_out, gains[which])[0, 1] < 0.35


small = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]), st.integers(0, 4)), min_size=1, max_size=12)


@settings(max_examples=200)
@given(rows=small, share=st.integers(1, 100))
def test_a_threshold_is_the_highest_that_reaches_its_target(rows, share):
    strong, weak, scores = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    stakes = Stakes(strong, weak, np.full(len(rows), 10.0), np.full(len(rows), 1.0))
    target = share / 100 * float(strong.mean())
    chosen = threshold_for(scores, stakes, target)
    every = sorted({*scores, np.inf}, reverse=True)
    fitting = [each for each in every if stakes.quality(scores >= each) >= target - 1e-9]
    assert chosen == (fitting[0] if fitting else -np.inf)


@settings(max_examples=200)
@given(rows=small, share=st.integers(1, 100))
def test_no_way_to_reach_the_target_is_cheaper_than_the_oracles(rows, share):
    strong, weak, _ = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    stakes = Stakes(strong, weak, np.full(len(rows), 10.0), np.full(len(rows), 1.0))
    target = share / 100 * float(strong.mean())
    oracle = perfect(stakes, target)
    assert stakes.quality(oracle) >= target - 1e-9
    for bits in range(2 ** len(rows)):
        chosen = np.array([bool(bits >> at & 1) for at in range(len(rows))])
        if stakes.quality(chosen) >= target - 1e-9:
            assert stakes.cost(oracle) <= stakes.cost(chosen)
    if strong.mean() > weak.mean():
        mixed = weak.mean() + random_share(stakes, target) * (strong.mean() - weak.mean())
        assert mixed >= target - 1e-9


def test_what_a_text_shows_is_a_number_for_every_text():
    assert np.isfinite(surface(["", " ", "\ud800", "x" * 100_000, "日本語", "f(x) = 3x²; return"])).all()


def lines(*rows: object) -> list[str]:
    return [json.dumps(row) for row in rows]


GOOD = {"prompt": "p", "strong_correct": True, "weak_correct": 0.5, "source": "x"}
MORE = [{**GOOD, "prompt": f"p{at}"} for at in range(19)]


def test_outcomes_are_read_with_what_else_the_line_says():
    assert read_outcomes([*lines(GOOD, *MORE), ""])[0] == Outcome("p", 1.0, 0.5)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({**GOOD, "prompt": 7}, 'line 2 has no text under "prompt"'),
        ({**GOOD, "weak_correct": "yes"}, "line 2 has 'yes' under 'weak_correct'"),
        ({**GOOD, "strong_correct": 1.5}, "line 2 has 1.5"),
        ([], "line 2"),
    ],
)
def test_a_line_that_is_no_outcome_is_named(bad, said):
    with pytest.raises(UnusableOutcomes, match=said):
        read_outcomes(lines(GOOD, bad, *MORE))


def test_a_line_too_deep_to_be_read_is_named():
    with pytest.raises(UnusableOutcomes, match="line 1 is no JSON"):
        read_outcomes(["[" * 100_000])


def test_too_few_different_prompts_are_no_judgement():
    with pytest.raises(UnusableOutcomes, match="20 or more"):
        read_outcomes(lines(*[GOOD] * 50, *MORE[1:]))


def test_the_blueprints_day_costs_what_it_says_and_random_routing_saves_as_much():
    given = as_given()
    assert (given["routed_micro_usd"], given["unrouted_micro_usd"]) == (24_600_000, 56_200_000)
    assert given["saving_percent"] == given["random_saving_percent"] == 56.23


def test_the_typical_tokens_come_to_the_blueprints_costs_at_its_prices():
    found = compared(typical(), MODELS)
    assert found["calls"] == 1_000
    assert found["policies"]["routed"]["micro_usd"] == 24_600_000


def test_random_routing_is_the_mean_of_all_ways_to_deal_out_the_mix():
    calls = [Call("fast", Usage(1000, 0, 0, 0)), Call("powerful", Usage(3000, 0, 0, 0))]
    policies = compared(calls, MODELS)["policies"]
    fast, strong = (lambda tokens: tokens * 500 // 1000), (lambda tokens: tokens * 30_000 // 1000)
    ways = [fast(1000) + fast(3000), fast(1000) + strong(3000), strong(1000) + fast(3000), strong(1000) + strong(3000)]
    assert policies["random_same_mix"]["micro_usd"] == sum(ways) // 4
    assert policies["routed"]["micro_usd"] == fast(1000) + strong(3000)
    assert policies["always_strong"]["micro_usd"] == strong(4000)


def test_recorded_traffic_is_read_bare_and_as_watch_prints_it(capsys):
    event = {"profile": "fast", "input_text_tokens": 10, "output_text_tokens": 5, "cached_text_tokens": 4, "cost_micro_usd": 9}
    watch(Seen("llm.routing-decisions", 0, 7, 1_000, "c-1", "hil.model.called", event, 99), as_json=True)
    assert read_traffic([*lines(event), capsys.readouterr().out]) == [Call("fast", Usage(10, 4, 0, 5), 9)] * 2
    with pytest.raises(UnusableTraffic, match="line 1"):
        read_traffic(lines({"profile": "fast"}))
