"""Routing as a value: who may answer, in which order, and a reason for everybody who may not."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ports import Usage
from agents.router.profiles import Profile, Weights
from agents.router.request import Constraints, Facts
from agents.router.routing import Current, Decision, State, Unavailable, route
from agents.router.scoring import score
from tests.unit.router.worlds import ALL, BALANCED, BLUEPRINT, FAST, POWERFUL, model

HELLO = Facts(frozenset(), expected_output=200, reserved_output=4096)


def state(tokens: int = 6, **more) -> State:
    latency = {name: each.latency_ms for name, each in BLUEPRINT.items()}
    return State(dict.fromkeys(BLUEPRINT, tokens), latency, **more)


def decide(profile: Profile = FAST, facts: Facts = HELLO, known: State | None = None, **limits) -> Decision:
    return route(facts, BLUEPRINT, known or state(), profile, Constraints(**limits))


def names(decision: Decision) -> list[str]:
    return [each.model.name for each in decision.chain]


def reasons(decision: Decision) -> dict[str, str]:
    return {each.model: each.reason for each in decision.left_out}


def test_a_greeting_on_fast_goes_to_a_small_model_for_less_than_a_cent():
    decision = decide()
    assert decision.chosen is not None
    assert decision.chosen.model.name in ("gpt-3.5-turbo", "claude-3-haiku")
    assert decision.chosen.cost_micro_usd < 10_000
    assert decision.runner_up is not None
    assert decision.runner_up.model.name in ("gpt-3.5-turbo", "claude-3-haiku")


def test_the_score_is_the_profiles_weights_over_ten_cents_and_five_seconds():
    weights = Weights(latency=0.6, cost=0.3, quality=0.1)
    assert score(weights, 1000, 10_000, 8.0) == 0.6 * 0.8 + 0.3 * 0.9 + 0.1 * 0.8
    assert score(weights, 9000, 900_000, 8.0) == 0.1 * 0.8


def test_only_the_ratio_of_weights_counts():
    doubled = replace(FAST, weights=Weights(latency=1.2, cost=0.6, quality=0.2))
    assert [round(each.score, 9) for each in decide(doubled).chain] == [round(each.score, 9) for each in decide(FAST).chain]


def test_fast_has_fallbacks_although_all_of_them_are_slower_than_its_limit():
    assert names(decide())[2:] == ["claude-3-sonnet", "gpt-4-turbo"]


def test_a_latency_limit_leaves_out_primaries_and_ranks_fallbacks():
    decision = decide(BALANCED, max_latency_ms=2500)
    assert names(decision)[0] == "claude-3-sonnet"
    assert "3000 ms is over the limit of 2500 ms" in reasons(decision)["gpt-4-turbo"]
    assert set(names(decision)[1:]) == {"gpt-4", "claude-3-opus"}


def test_a_cost_limit_binds_fallbacks_too():
    decision = decide(max_cost_micro_usd=400)
    assert names(decision) == ["claude-3-haiku", "gpt-3.5-turbo"]
    assert reasons(decision).keys() == {"gpt-4-turbo", "claude-3-sonnet"}
    assert "over the limit of $0.0004" in reasons(decision)["gpt-4-turbo"]


def test_a_call_may_be_limited_more_tightly_than_its_profile_but_not_less():
    assert decide(max_cost_micro_usd=1_000_000).max_cost_micro_usd == FAST.max_cost_micro_usd


def test_ten_thousand_words_for_a_tenth_of_a_cent_are_refused_with_a_reason_for_every_model():
    decision = decide(known=state(tokens=13_000), max_cost_micro_usd=1_000)
    assert decision.chain == ()
    assert reasons(decision).keys() == {*FAST.primary, *FAST.fallback}
    assert "window of 16384" in reasons(decision)["gpt-3.5-turbo"]


def test_input_and_reserved_output_fill_at_most_80_percent_of_a_window():
    fits, too_long = state(tokens=8192 * 80 // 100 - 4096), state(tokens=8192 * 80 // 100 - 4095)
    assert "gpt-4" in names(decide(POWERFUL, known=fits))
    assert "80 % of its window of 8192" in reasons(decide(POWERFUL, known=too_long))["gpt-4"]


def test_what_the_request_needs_a_model_must_be_able_to_do():
    blind = {**BLUEPRINT, "gpt-3.5-turbo": replace(BLUEPRINT["gpt-3.5-turbo"], capabilities=ALL - {"vision", "tools"})}
    needs = replace(HELLO, needs=frozenset({"vision", "tools"}))
    decision = route(needs, blind, state(), FAST, Constraints())
    assert reasons(decision)["gpt-3.5-turbo"] == "cannot do tools, vision"


def test_an_agent_may_name_models_by_what_their_endpoint_calls_them():
    decision = decide(facts=replace(HELLO, supported_models=("claude-3-haiku-wire", "gpt-4-turbo")))
    assert names(decision) == ["claude-3-haiku", "gpt-4-turbo"]


def test_what_may_not_be_asked_just_now_is_left_out_with_the_time_it_may():
    known = state(unavailable={"gpt-3.5-turbo": Unavailable("open", 40.0), "claude-3-haiku": Unavailable("cooling", 7.0)})
    decision = decide(known=known)
    assert names(decision) == ["claude-3-sonnet", "gpt-4-turbo"]
    assert decision.again_in_s() == 7.0


def test_a_tight_budget_puts_the_cheapest_first_and_a_spent_one_leaves_nothing_that_costs():
    assert names(decide(BALANCED, known=state(tightness="alert")))[0] == "claude-3-sonnet"
    costs = [each.cost_micro_usd for each in decide(BALANCED, known=state(tightness="alert")).chain]
    assert costs == sorted(costs)
    spent = decide(BALANCED, known=state(tightness="exhausted"))
    assert spent.chain == ()
    assert "the budget is spent" in reasons(spent)["gpt-4"]


def test_a_model_in_both_lists_is_tried_in_second_place_when_it_is_too_slow_for_the_first():
    profile = replace(FAST, primary=("claude-3-haiku", "gpt-4"), fallback=("gpt-4",), max_cost_micro_usd=100_000)
    decision = decide(profile)
    assert names(decision) == ["claude-3-haiku", "gpt-4"]
    assert decision.left_out == ()


def test_a_profile_may_name_a_model_nobody_has():
    assert "no such model" in reasons(decide(replace(FAST, primary=("gpt-9",))))["gpt-9"]


def cached_world(cached: int):
    """A conversation on a dear model with a cache, and a better-scored one that would read everything anew."""
    models = {
        "own": model("own", input=1000, output=1000, cached=100, latency_ms=900),
        "other": model("other", input=600, output=1000, latency_ms=100),
    }
    profile = Profile("p", ("own", "other"), (), 1_000_000, 5000, Weights(latency=1.0, cost=0.0, quality=0.0))
    known = State({"own": 10_000, "other": 10_000}, {"own": 900, "other": 100}, current=Current("own", cached))
    return route(HELLO, models, known, profile, Constraints())


def test_a_conversation_stays_on_its_model_while_the_cached_prefix_makes_that_cheaper():
    decision = cached_world(cached=9_000)
    assert decision.chosen is not None
    assert (decision.chosen.model.name, decision.chosen.estimated) == ("own", Usage(10_000, 9_000, 0, 200))
    assert "stays on it" in decision.reasoning
    assert names(decision) == ["own", "other"]


def test_a_conversation_leaves_its_model_when_its_cache_no_longer_pays():
    assert names(cached_world(cached=2_000)) == ["other", "own"]


def test_a_conversation_cannot_stay_where_the_limits_do_not_let_it():
    known = state(tokens=2_000, current=Current("gpt-4", 1_500))
    assert names(decide(known=known))[0] != "gpt-4"


limits = st.one_of(st.none(), st.integers(1, 2_000_000))


@settings(max_examples=300)
@given(
    profile=st.sampled_from([FAST, BALANCED, POWERFUL]),
    tokens=st.dictionaries(st.sampled_from(sorted(BLUEPRINT)), st.integers(0, 200_000)),
    output=st.integers(1, 20_000),
    reserve=st.integers(0, 20_000),
    max_cost=limits,
    max_latency=st.one_of(st.none(), st.integers(1, 6_000)),
    down=st.sets(st.sampled_from(sorted(BLUEPRINT))),
    tightness=st.sampled_from(["ok", "alert", "exhausted"]),
    current=st.one_of(st.none(), st.tuples(st.sampled_from(sorted(BLUEPRINT)), st.integers(0, 300_000))),
)
def test_every_model_is_in_the_chain_or_left_out_with_a_reason_and_no_limit_is_broken(
    profile, tokens, output, reserve, max_cost, max_latency, down, tightness, current
):
    known = State(
        {**dict.fromkeys(BLUEPRINT, 10), **tokens},
        {name: each.latency_ms for name, each in BLUEPRINT.items()},
        {name: Unavailable("down", 1.0) for name in down},
        Current(*current) if current else None,
        tightness,
    )
    facts = Facts(frozenset(), output, output + reserve)
    decision = route(facts, BLUEPRINT, known, profile, Constraints(max_cost, max_latency))
    chain, left_out = names(decision), reasons(decision)
    assert sorted([*chain, *left_out]) == sorted({*profile.primary, *profile.fallback})
    assert all(left_out.values())
    limit = min(profile.max_cost_micro_usd, max_cost or profile.max_cost_micro_usd)
    slowest = min(profile.max_latency_ms, max_latency or profile.max_latency_ms)
    for each in decision.chain:
        assert each.cost_micro_usd <= limit
        assert each.model.name not in down
        assert each.role == "fallback" or each.latency_ms <= slowest
        assert each.estimated.cached_text_tokens <= each.estimated.input_text_tokens
    assert route(facts, BLUEPRINT, known, profile, Constraints(max_cost, max_latency)) == decision
