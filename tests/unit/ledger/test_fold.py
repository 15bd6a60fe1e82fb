"""A row is a function of its partition's events: of which, in what order, and of nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ActionUsed, ModelCalled, NodeFinished, RunFinished
from streams.ledger.fold import TOO_MANY, Total, fold, rollup, row_of

HOUR = 3_600_000


def call(number: int = 1, **fields: object) -> ModelCalled:
    said = {
        "id": f"e-{number}",
        "time_ms": 5 * HOUR + number,
        "conversation_id": "c",
        "run_id": "r",
        "node_id": "n",
        "execution_id": "x",
        "attempt": 1,
        "workflow": "w@1.0.0",
        "agent": "a",
        "profile": "fast",
        "provider": "local",
        "model": "m",
        "success": True,
        "outcome": "ok",
        "input_text_tokens": 10,
        "cached_text_tokens": 4,
        "cache_write_text_tokens": 3,
        "output_text_tokens": 2,
        "reasoning_text_tokens": 1,
        "cost_micro_usd": 7,
        "latency_ms": 100,
    }
    return ModelCalled(**{**said, **fields})


def node(status: str) -> NodeFinished:
    return NodeFinished(
        id="n", time_ms=HOUR, conversation_id="c", cause_id="c", run_id="r", node_id="n", status=status, agent="a", duration_ms=9
    )


def test_a_call_is_counted_with_everything_it_used():
    total = fold(fold(None, call(1), 10), call(2, success=False, outcome="http_500"), 11)
    assert total == Total(
        last_offset=11,
        last_ms=5 * HOUR + 2,
        count=2,
        errors=1,
        cost_micro_usd=14,
        input_text_tokens=20,
        cached_text_tokens=8,
        cache_write_text_tokens=6,
        output_text_tokens=4,
        reasoning_text_tokens=2,
        latency_ms=200,
        latency={49: 2},
    )


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.data())
def test_a_record_that_comes_again_changes_nothing(costs: list[int], data: st.DataObject):
    """Wherever a worker stops: what it has not committed comes again, and the row is what it would have been."""
    events = [(offset, call(offset, cost_micro_usd=cost)) for offset, cost in enumerate(costs)]
    straight = None
    for offset, event in events:
        straight = fold(straight, event, offset)
    stop = data.draw(st.integers(0, len(events)))
    back = data.draw(st.integers(0, stop))
    total = None
    for offset, event in [*events[:stop], *events[back:]]:
        total = fold(total, event, offset)
    assert total == straight


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"model": "other"}, "model"),
        ({"provider": "other"}, "provider"),
        ({"profile": "other"}, "profile"),
        ({"agent": "other"}, "agent"),
        ({"workflow": "other"}, "workflow"),
        ({"node_id": "other"}, "node_id"),
        ({"outcome": "other"}, "outcome"),
    ],
)
def test_each_dimension_has_rows_of_its_own(fields: dict[str, str], changed: str):
    key, other = row_of(call(), 3), row_of(call(**fields), 3)
    assert key is not None
    assert other is not None
    assert key != other
    assert rollup(other, Total()).dimensions[changed] == "other"
    assert rollup(key, Total()).key != rollup(other, Total()).key


def test_the_hour_is_that_of_the_event_and_the_partition_is_part_of_the_row():
    assert row_of(call(time_ms=5 * HOUR - 1), 0) != row_of(call(time_ms=5 * HOUR), 0)
    assert row_of(call(), 0) != row_of(call(), 1)
    assert rollup(row_of(call(), 4) or (), Total()).hour_ms == 5 * HOUR


def test_a_call_of_an_older_writer_has_an_outcome_too():
    failed = row_of(call(outcome="", success=False), 0)
    fine = row_of(call(outcome=""), 0)
    assert (failed or ())[-1] == "error"
    assert (fine or ())[-1] == "ok"


def test_a_skipped_node_counts_nowhere_and_a_failed_one_as_an_error():
    assert row_of(node("skipped"), 0) is None
    assert fold(None, node("failed"), 1).errors == 1
    assert fold(None, node("executed"), 1).errors == 0


def test_runs_and_actions_are_counted_without_money():
    run = RunFinished(
        id="r",
        time_ms=HOUR,
        conversation_id="c",
        cause_id="c",
        run_id="r",
        message_id="m",
        ordinal=2,
        workflow="w",
        version="1.0.0",
        status="failed",
        text="",
        cost_micro_usd=5,
    )
    used = ActionUsed(
        id="u",
        time_ms=HOUR,
        conversation_id="c",
        run_id="r",
        node_id="n",
        execution_id="x",
        attempt=1,
        workflow="w",
        app="shopify",
        action="get_order",
        success=False,
        latency_ms=40,
    )
    assert row_of(run, 0) == (0, 1, "runs", "w@1.0.0", "failed")
    assert row_of(used, 0) == (0, 1, "actions", "shopify", "get_order", "error")
    for event in (run, used):
        total = fold(None, event, 1)
        assert (total.count, total.errors, total.cost_micro_usd) == (1, 1, 0)


def test_an_endless_name_is_cut():
    key = row_of(call(model="m" * 10_000), 0)
    assert key is not None
    assert max(len(part) for part in key if isinstance(part, str)) == TOO_MANY


def test_a_rollup_says_which_state_of_which_row_it_is():
    key = row_of(call(), 0)
    assert key is not None
    first, second = fold(None, call(1), 1), fold(None, call(1), 2)
    assert rollup(key, first).id != rollup(key, second).id
    assert rollup(key, first) == rollup(key, fold(None, call(1), 1))
