"""Events to rows, without a database."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.projection import fold
from connectors.postgres.table import Row, Table, columns
from connectors.postgres.tables import TABLES
from schemas.events import CustomerResponse, TimerFired
from tests.integration.projector_log import run

KEYED = Table(
    "t",
    key=("k",),
    columns=columns(text="k", bigint="last first least greatest"),
    merges={"first": "first", "least": "least", "greatest": "greatest"},
)
numbers = st.none() | st.integers(0, 9)
rows = st.lists(
    st.fixed_dictionaries({"k": st.just("a"), "last": numbers, "first": numbers, "least": numbers, "greatest": numbers})
)


def _merged(said: list[Row]) -> Row:
    merged: Row = {"k": "a"}
    for row in said:
        merged = KEYED.merge(merged, row)
    return merged


@given(rows, rows)
def test_merging_is_associative(earlier: list[Row], later: list[Row]) -> None:
    """So it does not matter where one batch ends and the next begins."""
    assert _merged([*earlier, *later]) == KEYED.merge(_merged(earlier), _merged(later))


@given(rows)
def test_merging_again_changes_nothing(said: list[Row]) -> None:
    once = _merged(said)
    assert KEYED.merge(once, once) == once


def test_an_append_only_row_keeps_what_was_said_first() -> None:
    table = Table("t", key=("k",), columns=columns(text="k v"), append_only=True)
    assert table.merge({"k": "a", "v": "1"}, {"k": "a", "v": "2"}) == {"k": "a", "v": "1"}
    assert table.statement.endswith("DO NOTHING")


def test_a_run_is_one_row_a_thing() -> None:
    said = fold([event for turn in (1, 2) for event in run("ann", turn)])
    assert {name: len(of_table) for name, of_table in said.items()} == {
        "workflow_executions": 2,
        "messages": 4,
        "conversations": 1,
        "agent_executions": 4,
    }
    (conversation,) = said["conversations"]
    assert (conversation["last_status"], conversation["last_ordinal"], conversation["last_run_id"]) == (
        "completed",
        4,
        "ann-run-2",
    )


def test_a_finish_repeated_before_its_request_keeps_both() -> None:
    """Order within a node's row does not matter."""
    events = run("ann", 1)
    shuffled = random.Random(7).sample(events, len(events))
    assert fold(events)["agent_executions"] == fold(shuffled)["agent_executions"]


def test_events_of_no_interest_say_nothing() -> None:
    timer = TimerFired(id="t", time_ms=0, conversation_id="ann", timer_id="t", due_ms=0)
    response = CustomerResponse(id="r", time_ms=0, conversation_id="ann", message_id="m", run_id="r", status="completed", text="")
    assert fold([timer, response]) == {}


def test_every_row_has_its_key_and_no_column_the_table_lacks() -> None:
    tables = {table.name: table for table in TABLES}
    for name, of_table in fold(run("ann", 1)).items():
        for row in of_table:
            assert set(tables[name].key) <= row.keys() <= tables[name].columns.keys()
