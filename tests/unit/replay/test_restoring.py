"""A conversation's state, made again from its events."""

from __future__ import annotations

from schemas.events import Outcome
from streams.core.state import ConversationCodec
from streams.replay.restoring import fold
from streams.runtime import Record
from tests.support.garbage import kinds
from tests.support.lying import events_of, renumbered
from tests.support.play import Play, graph

CHAIN = graph(["a", {"id": "b", "retry": {"max_attempts": 3}}], [("a", "b"), ("b", "END")])
GRAPHS = {CHAIN.digest: CHAIN}


def played() -> Play:
    play = Play(CHAIN)
    play.message("one")
    play.message("two", "m2")
    play.complete("a", "A")
    play.complete("b", outcome=Outcome.RETRYABLE, error="busy")
    return play


def test_the_state_is_the_one_that_the_events_led_to():
    play = played()
    state, folded = fold(events_of(play), GRAPHS, ())
    assert state == play.conversation
    assert folded == len(play.history)
    assert state is not None
    assert ConversationCodec().decode(ConversationCodec().encode(state)) == state


def test_what_went_to_dead_letters_and_what_is_no_event_has_no_part_in_it():
    play = played()
    garbage = [Record("conversation.events", 0, 0, 5, piece.key, piece.value, ()) for piece in kinds(b"c1")]
    events = renumbered([*events_of(play), *events_of(play)[:1], *garbage])
    state, folded = fold(events, GRAPHS, {(0, len(play.history))})
    assert (state, folded) == (play.conversation, len(play.history))
