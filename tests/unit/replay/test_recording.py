"""Which conversations a recording has from their beginning on."""

from __future__ import annotations

from schemas.events import MessageReceived, RunStarted
from streams.replay.recording import Lying, beginnings
from streams.runtime import Record
from tests.support.lying import events_of, outputs_of
from tests.support.play import Play, graph

CHAIN = graph(["a"], [("a", "END")])


def lying(records: list[Record]) -> list[Lying]:
    return [Lying.read(record) for record in records]


def test_a_message_that_came_twice_with_another_time_leaves_its_conversation_whole():
    """Intake was killed and read the record again, or the customer sent it again: the id is the same, the time is not."""
    play = Play(CHAIN)
    play.message("one")
    first = play.history[0]
    assert isinstance(first, MessageReceived)
    play.feed(first.model_copy(update={"ordinal_base": 77_000, "time_ms": first.time_ms + 77_000}))
    play.complete("a", "A")
    assert beginnings(lying(events_of(play)), lying(outputs_of(play))) == {first.conversation_id}


def test_a_conversation_whose_first_run_is_gone_has_no_beginning():
    play = Play(CHAIN)
    play.message("one")
    play.complete("a", "A")
    play.message("two", "m2")
    outputs = [each for each in lying(outputs_of(play)) if not (isinstance(each.event, RunStarted) and each.event.text == "one")]
    assert beginnings(lying(events_of(play)), outputs) == set()


def test_garbage_begins_nothing():
    play = Play(CHAIN)
    play.message("one")
    garbage = [Record("workflow.events", 0, 9, 0, b"c1", b"{", ())]
    assert beginnings(lying(events_of(play)), lying([*garbage, *outputs_of(play)])) == {"c1"}
