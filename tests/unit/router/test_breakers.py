"""Breakers, cool-downs and keys: what is broken is left alone, and one call at a time finds out whether it still is."""

from __future__ import annotations

import pytest

from agents.router.breakers import BreakerRules, Changed
from agents.router.health import Health
from tests.unit.router.worlds import fails, model

A = model("a")
SAME_KEY = model("b")
ELSEWHERE = model("c", provider="anthropic")


@pytest.fixture
def changes() -> list[Changed]:
    return []


@pytest.fixture
def health(changes: list[Changed]) -> Health:
    return Health(on_change=changes.append)


def fail(health: Health, now: float, times: int = 1, failure=None) -> None:
    for _ in range(times):
        health.enter(A, now).failed(failure or fails(), now)


def test_five_failures_open_a_breaker_and_four_do_not(health, changes):
    fail(health, 0.0, 4)
    assert health.refusal(A, 0.0) is None
    fail(health, 1.0)
    refusal = health.refusal(A, 1.0)
    assert refusal is not None
    assert refusal.again_in_s == 60.0
    assert "http_500" in refusal.reason
    assert [(each.name, each.before, each.after) for each in changes] == [("a", "closed", "open")]


def test_failures_that_are_further_apart_than_the_window_do_not_add_up(health):
    for second in range(0, 200, 20):
        fail(health, float(second))
    assert health.states() == {"a": "closed"}


def test_five_failures_among_a_thousand_answers_are_no_breakage(health):
    for at in range(1000):
        ticket = health.enter(A, at * 0.05)
        ticket.failed(fails(), at * 0.05) if at % 200 == 0 else ticket.succeeded(at * 0.05)
    assert health.states() == {"a": "closed"}


def test_five_failures_in_a_row_open_it_however_well_it_went_before(health):
    for at in range(500):
        health.enter(A, at * 0.01).succeeded(at * 0.01)
    fail(health, 5.0, 5)
    assert health.states() == {"a": "open"}


def test_after_a_minute_one_call_may_try_and_the_others_wait_for_it(health, changes):
    fail(health, 0.0, 5)
    assert health.refusal(A, 59.9) is not None
    assert health.refusal(A, 60.0) is None
    probe = health.enter(A, 60.0)
    waiting = health.refusal(A, 60.0)
    assert waiting is not None
    assert "half-open" in waiting.reason
    probe.succeeded(61.0)
    assert health.refusal(A, 61.0) is None
    assert [each.after for each in changes] == ["open", "half_open", "closed"]


def test_a_probe_that_fails_opens_it_for_another_minute(health):
    fail(health, 0.0, 5)
    health.enter(A, 60.0).failed(fails(), 62.0)
    refusal = health.refusal(A, 62.0)
    assert refusal is not None
    assert refusal.again_in_s == 60.0


def test_a_probe_that_was_cancelled_lets_the_next_one_try(health):
    fail(health, 0.0, 5)
    health.enter(A, 60.0).given_up()
    assert health.refusal(A, 60.0) is None


def test_calls_begun_before_it_opened_change_nothing_when_they_end(health):
    early = [health.enter(A, 0.0) for _ in range(3)]
    fail(health, 0.0, 5)
    probe = health.enter(A, 60.0)
    early[0].failed(fails(), 60.5)
    early[1].succeeded(60.5)
    early[2].given_up()
    assert health.states() == {"a": "half_open"}
    assert health.refusal(A, 60.5) is not None
    probe.succeeded(61.0)
    assert health.states() == {"a": "closed"}


def test_what_happened_before_it_opened_is_forgotten_when_it_closes(health):
    fail(health, 0.0, 5)
    health.enter(A, 60.0).succeeded(60.0)
    fail(health, 60.0, 4)
    assert health.states() == {"a": "closed"}


def test_a_429_is_waited_out_and_is_no_breakage(health, changes):
    fail(health, 0.0, 20, fails("cool_down", "http_429", retry_after_s=30.0))
    refusal = health.refusal(A, 10.0)
    assert refusal is not None
    assert refusal.again_in_s == 20.0
    assert health.refusal(A, 30.0) is None
    assert health.states() == {"a": "closed"}
    assert [(each.name, each.before, each.after, each.until_s) for each in changes] == [("a", "closed", "cooling", 30.0)]


def test_the_end_of_a_cool_down_is_told_by_whoever_looks_and_by_the_next_call(health, changes):
    fail(health, 0.0, 3, fails("cool_down", "http_429", retry_after_s=30.0))
    fail(health, 1.0, 1, fails("cool_down", "http_429", retry_after_s=39.0))
    assert health.look(30.0) == 10.0, "the longer wait holds"
    assert health.look(40.0) is None
    fail(health, 50.0, 1, fails("cool_down", "http_429", retry_after_s=5.0))
    health.enter(A, 60.0).succeeded(60.0)
    assert [each.after for each in changes] == ["cooling", "closed", "cooling", "closed"]


def test_a_breaker_that_opens_during_a_cool_down_is_told_and_the_end_of_the_cool_down_is_not(health, changes):
    fail(health, 0.0, 1, fails("cool_down", "http_429", retry_after_s=90.0))
    fail(health, 1.0, 5)
    assert health.look(95.0) is None
    assert [(each.before, each.after, each.until_s) for each in changes] == [
        ("closed", "cooling", 90.0),
        ("cooling", "open", 90.0),
    ]


def test_a_thousand_calls_at_a_broken_model_are_one_change(health, changes):
    for ticket in [health.enter(A, 0.0) for _ in range(1000)]:
        ticket.failed(fails(), 1.0)
    assert [each.after for each in changes] == ["open"]


def test_without_a_time_the_wait_doubles_with_each_429_in_a_row_up_to_a_bound(health):
    waits, now = [], 0.0
    for _ in range(6):
        fail(health, now, 3, fails("cool_down", "http_429"))  # three at once are one
        refusal = health.refusal(A, now)
        assert refusal is not None
        waits.append(refusal.again_in_s)
        now += refusal.again_in_s or 0.0
    assert waits == [10.0, 20.0, 40.0, 80.0, 120.0, 120.0]
    health.enter(A, now).succeeded(now)
    fail(health, now, 1, fails("cool_down", "http_429"))
    assert health.refusal(A, now) == ("it is left alone for 10 s more (http_429)", 10.0)


def test_a_key_refused_for_one_model_still_opens_the_others(health, changes):
    """Behind a gateway each model may have a key of its own: one that is wrong there says nothing of the rest."""
    fail(health, 0.0, 1, fails("key_broken", "http_401"))
    assert "the key of openai was refused for it" in health.refusal(A, 1.0).reason
    assert health.refusal(SAME_KEY, 1.0) is None
    assert [(each.kind, each.name, each.after) for each in changes] == [("key", "openai/a", "open")]
    assert health.keys() == {"openai/a": "open"}


def test_a_key_refused_for_two_models_stops_every_model_behind_it_and_breaks_none(health, changes):
    for each in (A, SAME_KEY):
        health.enter(each, 0.0).failed(fails("key_broken", "http_401"), 0.0)
    third = model("third")
    for each in (A, SAME_KEY, third):
        refusal = health.refusal(each, 1.0)
        assert refusal is not None
        assert "the key of openai was refused" in refusal.reason
        assert refusal.again_in_s is None
    assert health.refusal(ELSEWHERE, 1.0) is None
    assert set(health.states().values()) == {"closed"}
    assert ("key", "openai", "open") in [(each.kind, each.name, each.after) for each in changes]


def test_an_account_without_credit_stops_every_model_at_once(health):
    fail(health, 0.0, 1, fails("key_broken", "no_credit"))
    assert health.refusal(SAME_KEY, 1.0) is not None


def test_an_open_breaker_tells_what_the_endpoint_said(health):
    fail(health, 0.0, 5, fails("try_next", "http_500", message="m at e failed (500): out of memory"))
    assert "out of memory" in health.refusal(A, 1.0).reason


def test_a_wait_of_nothing_cools_down_all_the_same_and_doubles(health):
    waits = []
    now = 0.0
    for _ in range(3):
        fail(health, now, 1, fails("cool_down", "http_429", retry_after_s=0.0))
        waits.append(health.refusal(A, now).again_in_s)
        now += waits[-1]
    assert waits == [10.0, 20.0, 40.0]


def test_a_key_gets_one_try_after_five_minutes(health):
    fail(health, 0.0, 1, fails("key_broken", "no_credit"))
    assert health.refusal(A, 299.0) is not None
    assert health.refusal(A, 300.0) is None
    ticket = health.enter(A, 300.0)
    assert health.refusal(SAME_KEY, 300.0) is not None
    ticket.succeeded(301.0)
    assert health.refusal(SAME_KEY, 301.0) is None


def test_the_callers_fault_is_never_counted(health, changes):
    fail(health, 0.0, 50, fails("callers_fault", "http_400"))
    assert (health.states(), changes) == ({"a": "closed"}, [])


def test_the_numbers_are_settings():
    health = Health(BreakerRules(failures=2, minimum_calls=2, open_s=5.0))
    fail(health, 0.0, 2)
    assert health.refusal(A, 4.0) is not None
    assert health.refusal(A, 5.0) is None
