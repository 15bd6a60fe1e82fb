"""A conversation that was idle for its time to live is forgotten: an event asks for it, the reducer decides."""

from __future__ import annotations

import pytest

from schemas.events import ConversationExpired, MessageReceived, MessageSetAside, NodeTask, RunFinished, RunStarted, TimerFired
from schemas.ids import derive
from streams.core.state import Conversation, ConversationCodec, idle_timer
from tests.support.play import Play, graph

ONE = graph(["a"], [("a", "END")])


def expiry(play: Play, conversation: Conversation | None = None) -> TimerFired:
    """What the owner of the partition publishes when it finds the conversation idle."""
    conversation = conversation or play.conversation
    assert conversation is not None
    timer_id = idle_timer("c1", conversation)
    return TimerFired(id=derive(timer_id, "fired"), time_ms=play.now_ms, conversation_id="c1", timer_id=timer_id, due_ms=5)


def answered(base: int = 0) -> Play:
    play = Play(ONE)
    play.message(ordinal_base=base)
    play.complete("a", "hello")
    return play


def test_an_idle_conversation_is_forgotten_and_the_log_says_so():
    play = answered()
    assert play.conversation is not None
    idle_ms = play.conversation.idle_ms
    assert idle_ms == play.now_ms, "by the time of the event that ended the run"
    [expired] = play.feed(expiry(play))
    assert isinstance(expired, ConversationExpired)
    assert (expired.idle_ms, expired.ordinal, expired.run_id) == (idle_ms, 2, "-")
    assert play.conversation is None


def test_whatever_began_meanwhile_keeps_it():
    """The message lies before the timer on the partition, so it counts, whether its run has ended or not."""
    play = answered()
    asked = expiry(play)
    play.message(message_id="m2")
    [running] = play.feed(asked)
    play.complete("a", "again")
    [over] = play.feed(asked)
    assert isinstance(running, MessageSetAside)
    assert isinstance(over, MessageSetAside)
    assert play.conversation is not None
    assert play.conversation.ordinal == 4


def test_asked_twice_it_is_forgotten_once():
    play = answered()
    asked = expiry(play)
    play.feed(asked)
    [second] = play.feed(asked)
    assert isinstance(second, MessageSetAside)
    assert play.conversation is None, "what comes late makes no new state"


def test_a_late_completion_makes_no_new_state():
    play = Play(ONE)
    play.message()
    late = play.completion("a", "late")
    play.complete("a", "hello")
    play.feed(expiry(play))
    [set_aside] = play.feed(late)
    assert isinstance(set_aside, MessageSetAside)
    assert play.conversation is None


def test_a_message_id_is_new_again_after_its_conversation_was_forgotten():
    """The trade of forgetting: docs/guides/recovery.md says so."""
    play = answered()
    play.feed(expiry(play))
    assert [type(event) for event in play.message()][:1] == [RunStarted]


def test_ordinals_of_a_conversation_that_begins_again_come_after_all_it_had():
    play = Play(ONE, now_ms=1_000)
    ordinals = []
    for life in range(3):
        for number in range(4):
            play.message(message_id=f"m{number}", ordinal_base=play.now_ms)
            play.complete("a", "hello")
        play.now_ms += 60_000
        ordinals += [event.ordinal for event in play.outputs if isinstance(event, (RunStarted, RunFinished))]
        tasks = [event for event in play.outputs if isinstance(event, NodeTask)]
        assert [task.earlier for task in tasks[-4:]] == [0, 2, 4, 6], f"life {life}: history is that of this life alone"
        play.outputs.clear()
        play.feed(expiry(play))
        play.outputs.clear()
    assert ordinals == sorted(set(ordinals)), "two with one ordinal are one row for people"
    assert len(ordinals) == 24


def test_old_histories_count_from_one():
    """Their messages name no base, and what was decided about them stays true."""
    play = Play(ONE)
    [started, *_] = play.message()
    assert isinstance(started, RunStarted)
    assert started.ordinal == 1
    old = MessageReceived.model_validate_json(play.history[0].model_dump_json(exclude={"ordinal_base"}))
    assert old.ordinal_base == 0


def test_a_state_from_before_there_was_an_expiry_is_read_and_not_forgotten_at_once():
    """It does not know since when it is idle: its next run will tell."""
    play = answered()
    assert play.conversation is not None
    codec = ConversationCodec()
    encoded = codec.encode(play.conversation)
    assert encoded[:1] == b"\x98"
    import msgspec

    older = codec.decode(msgspec.msgpack.encode(msgspec.msgpack.decode(encoded)[:6]))
    assert (older.ordinal, older.idle_ms, older.base) == (2, 0, 0)
    play.conversation = older
    [set_aside] = play.feed(expiry(play))
    assert isinstance(set_aside, MessageSetAside)


@pytest.mark.parametrize("messages", [1, 40])
def test_with_large_ordinals_an_idle_conversation_is_still_small(messages: int):
    play = Play(ONE, now_ms=1_795_449_600_000)
    for number in range(messages):
        play.message(message_id=f"m{number}", ordinal_base=play.now_ms)
        play.complete("a", "x" * 1000)
    assert play.conversation is not None
    assert len(ConversationCodec().encode(play.conversation)) <= 400
