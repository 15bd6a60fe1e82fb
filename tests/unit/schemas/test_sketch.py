"""Quantiles from counts: near enough, and the same whichever way the parts are put together."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.sketch import GROWTH, as_json, bucket, from_json, merged, quantile

DURATIONS = st.lists(st.integers(0, 10**7), min_size=1, max_size=200)


@given(DURATIONS, st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_off_by_at_most_five_percent(durations: list[int], share: float):
    exact = sorted(durations)[max(1, ceil(share * len(durations))) - 1]
    found = quantile(Counter(map(bucket, durations)), share)
    assert found == pytest.approx(exact, rel=0.05)


@given(DURATIONS, DURATIONS)
def test_sketches_add_up(first: list[int], second: list[int]):
    parts = [dict(Counter(map(bucket, part))) for part in (first, second)]
    assert merged(parts) == dict(Counter(map(bucket, first + second)))
    assert from_json(as_json(parts[0])) == parts[0]


@given(st.integers(1, 10**9))
def test_a_bucket_holds_what_its_bounds_say(value: int):
    index = bucket(value)
    assert GROWTH ** (index - 1) * (1 - 1e-9) < value <= GROWTH**index * (1 + 1e-9)


def test_nothing_has_no_quantile():
    assert quantile({}, 0.5) is None
