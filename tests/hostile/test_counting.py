"""The judge of a hostile round can be trusted: it counts what is lost, what is doubled and what waited."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.honest import Sent, outcome
from tests.hostile.memory import Held
from tests.hostile.payloads import RAW, burst, small
from tests.hostile.round import Plan, Report, Round


def sent(at: float, answered: float | None, *ids: str, status: str = "completed") -> Sent:
    return Sent(f"k{at}", "hostile", at, answered, set(ids), status)


def test_what_was_not_answered_answered_twice_or_failed_is_counted():
    found = outcome([sent(1, 2, "a"), sent(2, None), sent(3, 4, "b", "c"), sent(4, 5, "d", status="failed")], ())
    assert (found.messages, found.lost, found.doubled, found.failed) == (4, 1, 1, 1)


def test_the_latency_of_what_was_on_its_way_during_a_restart_is_left_out():
    found = outcome([sent(1, 1.5, "a"), sent(9, 12, "b"), sent(11, 30, "c"), sent(20, 20.25, "d")], [(10, 15)])
    assert (found.beside_restarts, found.p50_s, found.max_s) == (2, 0.5, 0.5)


def test_a_latency_beyond_the_usual_one_times_three_breaks_a_promise():
    plan = Plan(1, 1, 1)
    report = Report(plan, outcome([sent(1, 1.1, "a")], ()), outcome([sent(1, 1.4, "a")], ()))
    Round(Path(), plan, print)._latency(report)
    assert [line[:3] for line in report.broken] == ["p50", "p99"]


def test_growth_is_told_of_lives_that_were_long_enough():
    assert Held([(second, 100.0) for second in range(100)]).slope is None
    assert round(Held([(second, 100 + second / 30) for second in range(600)]).slope or 0, 6) == 2.0


def test_every_kind_of_attack_can_be_made():
    """And most of the payloads are within what the broker takes, so that it is our code that meets them."""
    import random

    chance = random.Random(1)
    kinds = {small(chance).kind for _ in range(3000)}
    assert len(kinds) > 60
    assert sum(len(value) < 8 * 1024 * 1024 for value in RAW.values()) == len(RAW)
    assert len({burst(chance).kind for _ in range(100)}) == 6
