"""Holding what today's reducer decides against what the log has."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from schemas.base import Event
from schemas.codec import Undecodable, decode, encode
from schemas.events import NodeFinished, NodeRequested, Outcome, RunFinished, RunStarted
from schemas.events.workflow import Decided
from schemas.topics import CONVERSATION_EVENTS
from streams.core.reducer import decide
from streams.replay.difference import Difference, Differs
from streams.replay.verification import SHOWN, Verification
from streams.runtime import Record
from streams.runtime.publisher import key_hash
from tests.support.garbage import kinds
from tests.support.lying import check, events_of, lying, outputs_of, renumbered
from tests.support.play import Play, graph

CHAIN = graph(["a", {"id": "b", "retry": {"max_attempts": 3}}], [("a", "b"), ("b", "END")])


def played(graph_: Any = CHAIN) -> Play:
    """Two messages, the second one queued; a retry; a message that comes twice."""
    play = Play(graph_)
    play.message("one")
    play.message("two", "m2")
    play.complete("a", "A")
    play.complete("b", outcome=Outcome.RETRYABLE, error="busy")
    play.fire()
    play.complete("b", "B")
    play.feed(play.history[0])
    play.complete("a", "A2")
    play.complete("b", "B2")
    return play


def verification(**more: Any) -> Verification:
    return Verification({CHAIN.digest: CHAIN}, **more)


def difference(events: list[Record], outputs: list[Record], **more: Any) -> Difference:
    with pytest.raises(Differs) as found:
        check(verification(**more), events, outputs)
    return found.value.difference


def rewritten(record: Record, **fields: Any) -> Record:
    event = decode(record.value, record.headers).model_copy(update=fields)
    return replace(record, value=encode(event)[0])


def at(outputs: list[Record], kind: type[Event], number: int = 0) -> int:
    return [at for at, record in enumerate(outputs) if isinstance(decode(record.value, record.headers), kind)][number]


def test_a_log_of_our_own_has_no_difference():
    play = played()
    counts = check(verification(), events_of(play), outputs_of(play))
    assert (counts.events, counts.conversations, counts.digests) == (len(play.history), 1, 2)
    assert counts.outputs == len(outputs_of(play))


def test_what_a_crash_published_twice_is_compared_once():
    play = played()
    outputs = outputs_of(play)
    counts = check(verification(), events_of(play), renumbered([*outputs[:7], *outputs[2:7], *outputs[4:]]))
    assert counts.outputs == len(outputs)
    assert counts.repeats == 8


def test_a_zombies_late_repeats_are_repeats():
    play = played()
    outputs = outputs_of(play)
    assert check(verification(), events_of(play), [*outputs, *outputs[1:3]]).repeats == 2


def test_a_repeat_with_other_content_is_a_difference():
    play = played()
    outputs = outputs_of(play)
    found = difference(events_of(play), [*outputs, rewritten(outputs[0], text="else")])
    assert (found.kind, "twice" in (found.reason or "")) == ("changed", True)


def test_a_repeat_is_known_long_after_and_forgotten_at_last(monkeypatch: pytest.MonkeyPatch):
    """So many outputs are remembered for sure, and never more than twice as many."""
    play = played()
    outputs = outputs_of(play)
    for remembered, known in ((len(outputs) - 1, True), (len(outputs) // 3, False)):
        monkeypatch.setattr("streams.replay.verification.REMEMBERED", remembered)
        repeat = [*outputs, rewritten(outputs[0], text="else")]
        if known:
            assert difference(events_of(play), repeat).kind == "changed"
        else:
            assert difference(events_of(play), repeat, complete=True).kind == "unexpected"


def test_two_outputs_in_the_other_order_differ():
    play = played()
    outputs = outputs_of(play)
    outputs[1], outputs[2] = outputs[2], outputs[1]
    assert difference(events_of(play), outputs).kind == "missing"


def test_a_header_that_names_another_id_than_its_value_differs():
    """Readers know a repeat by the header alone."""
    play = played()
    outputs = outputs_of(play)
    headers = tuple((name, b"another" if name == "ce_id" else value) for name, value in outputs[3].headers)
    outputs[3] = replace(outputs[3], headers=headers)
    assert difference(events_of(play), outputs).recorded_at == "workflow.events-0@3"


def test_an_output_the_log_lacks_is_named_with_its_cause():
    play = played()
    outputs = outputs_of(play)
    gone = at(outputs, NodeRequested)
    found = difference(events_of(play), outputs[:gone] + outputs[gone + 1 :])
    assert found.kind == "missing"
    assert isinstance(found.expected, NodeRequested)
    assert found.cause == "conversation.events-0@0"


def test_a_missing_last_output_is_missed():
    play = played()
    found = difference(events_of(play), outputs_of(play)[:-1])
    assert (found.kind, found.recorded_at) == ("missing", None)
    assert isinstance(found.expected, RunFinished)


def test_an_output_nobody_decides_is_named():
    play = played()
    outputs = outputs_of(play)
    extra = rewritten(outputs[at(outputs, NodeRequested)], id="stranger")
    extra = replace(extra, headers=tuple((n, b"stranger" if n == "ce_id" else v) for n, v in extra.headers))
    for place in (2, len(outputs)):
        found = difference(events_of(play), [*outputs[:place], extra, *outputs[place:]])
        assert found.kind == "unexpected"


def test_what_changed_is_shown_from_both_sides():
    play = played()
    outputs = outputs_of(play)
    where = at(outputs, NodeFinished)
    outputs[where] = rewritten(outputs[where], output={"answer": "recorded"})
    found = difference(events_of(play), outputs)
    assert found.fields == {"output": ("A", {"answer": "recorded"})}
    assert found.recorded_at == f"workflow.events-0@{where}"
    text = str(found)
    for word in ("today", '"A"', "recorded", '{"answer": "recorded"}', "conversation c1", "conversation.events-0@2"):
        assert word in text


def test_a_state_that_no_output_shows_is_found_by_its_digest():
    play = played()
    outputs = outputs_of(play)
    where = at(outputs, RunFinished)
    outputs[where] = rewritten(outputs[where], state_digest="1:0000000000000000")
    assert list(difference(events_of(play), outputs).fields) == ["state_digest"]


def test_a_digest_of_another_version_is_not_compared():
    play = played()
    outputs = outputs_of(play)
    for number in (0, 1):
        where = at(outputs, RunFinished, number)
        outputs[where] = rewritten(outputs[where], state_digest="9:0000000000000000")
    assert check(verification(), events_of(play), outputs).digests == 0


def test_another_graph_under_the_same_digest_differs():
    """What a changed reducer looks like: the same events, another decision."""
    play = played()
    other = graph(["a", "b"], [("a", "b", "output == 'never'"), ("b", "END")])
    with pytest.raises(Differs) as found:
        check(Verification({CHAIN.digest: other}), events_of(play), outputs_of(play))
    assert found.value.difference.cause == "conversation.events-0@2"


def test_an_unknown_definition_is_a_difference_that_says_so():
    play = played()
    with pytest.raises(Differs) as found:
        check(Verification({}), events_of(play), outputs_of(play))
    assert any("play@1.0.0 (d1)" in hint for hint in found.value.difference.hints)


def test_a_run_that_failed_for_an_unknown_definition_is_verified_like_any_other():
    play = played()
    without = Play(CHAIN)
    without.outputs += decide(None, play.history[0], {}).outputs
    without.history.append(play.history[0])
    assert check(Verification({}), events_of(without), outputs_of(without)).digests == 1


def test_an_event_that_went_to_dead_letters_is_passed_over():
    play = played()
    outputs = outputs_of(play)
    garbage = Record(CONVERSATION_EVENTS, 0, 99, 0, b"c1", b"\xc3\x01garbage", ())
    lettered = replace(events_of(play)[0], offset=100)  # it would be set aside as a repeat if it had been decided about
    counts = check(verification(dead=frozenset({(0, 100)})), [*events_of(play), garbage, lettered], outputs)
    assert counts.passed_over == 2


def test_an_event_on_another_partition_than_that_of_its_key_is_passed_over():
    """Somebody else's producer chose it; what was decided about it lies where its key says."""
    play = played()
    partition = key_hash(b"c1") % 7
    events = [replace(record, partition=partition) for record in events_of(play)]
    foreign = Play(CHAIN)
    foreign.message("elsewhere")
    stray = [replace(record, partition=partition) for record in lying(CONVERSATION_EVENTS, [stranger(foreign)])]
    checked = verification(partitions=7)
    counts = check(checked, [*stray, *events], outputs_of(play))
    assert (counts.passed_over, counts.outputs) == (1, len(outputs_of(play)))
    assert "not the partition of its key" in checked.notes[0]


def stranger(play: Play) -> Event:
    """A message of a conversation that belongs on another partition than c1."""
    name = next(f"x{at}" for at in range(100) if key_hash(f"x{at}".encode()) % 7 != key_hash(b"c1") % 7)
    return play.history[0].model_copy(update={"conversation_id": name})


def test_outputs_of_events_behind_the_end_are_left_for_later():
    play = played()
    events, outputs = events_of(play), outputs_of(play)
    assert check(verification(), events[:1], outputs).later > 0


def test_a_decision_that_cannot_be_read_any_more_is_missing():
    play = played()
    outputs = outputs_of(play)
    outputs[1] = replace(outputs[1], value=outputs[1].value[:14] if outputs[1].value else None)
    assert difference(events_of(play), outputs).kind == "missing"


@pytest.mark.parametrize("ids", ["of nobody", "of decisions"])
@pytest.mark.parametrize("complete", [False, True])
def test_garbage_between_the_decisions_is_passed_over_with_a_word(ids: str, complete: bool):
    """Its header may name a decision that has been, or one that is to come."""
    play = played()
    outputs = outputs_of(play)
    names = [decode(record.value, record.headers).id.encode() for record in outputs]
    littered: list[Record] = []
    for at_, piece in enumerate(sorted(kinds(), key=lambda piece: piece.name)):
        if at_ % 20 == 0 and outputs:
            littered.append(outputs.pop(0))
        headers = [(name, value) for name, value in piece.headers if name != "ce_id"] if ids == "of decisions" else piece.headers
        named = (("ce_id", names[at_ % len(names)]),) if ids == "of decisions" else ()
        littered.append(Record("workflow.events", 0, 0, 5, piece.key, piece.value, (*headers, *named)))  # type: ignore[arg-type]
    garbage = [record for record in littered if not read_as_decision(record)]
    mine = [record for record in littered if read_as_decision(record) and record.key == b"c1"]
    checked = verification(complete=complete)
    counts = check(checked, events_of(play), renumbered([*garbage[:150], *mine[:3], *garbage[150:], *mine[3:], *outputs]))
    assert counts.outputs == len(names)
    assert counts.unreadable == len(garbage)
    assert len(checked.notes) == SHOWN
    assert "workflow.events-0@" in checked.notes[0]


def read_as_decision(record: Record) -> bool:
    try:
        return isinstance(decode(record.value, record.headers), Decided)
    except Undecodable:
        return False


def test_a_decision_about_a_conversation_nobody_knows_was_put_there_by_somebody_else():
    play = played()
    outputs = outputs_of(play)
    foreign = rewritten(outputs[0], conversation_id="nobody", cause_id="nothing", id="foreign")
    foreign = replace(foreign, headers=tuple((n, b"foreign" if n == "ce_id" else v) for n, v in foreign.headers))
    counts = check(verification(), events_of(play), renumbered([outputs[0], foreign, *outputs[1:]]))
    assert (counts.outputs, counts.unreadable) == (len(outputs), 1)


def test_a_reducer_that_raises_where_it_once_decided_differs(monkeypatch: pytest.MonkeyPatch):
    def broken(*given: Any) -> None:
        raise RuntimeError("no")

    play = played()
    monkeypatch.setattr("streams.replay.verification.decide", broken)
    found = difference(events_of(play), outputs_of(play))
    assert (found.kind, found.reason) == ("unexpected", "today's reducer raises RuntimeError: no")


def test_nothing_may_follow_a_history_that_is_complete():
    play = played()
    assert difference(events_of(play)[:1], outputs_of(play), complete=True).kind == "unexpected"


class TestFromTheMiddle:
    """Retention has cut the log, or the operator asked for a later period."""

    def test_a_conversation_that_was_going_on_is_left_out_and_counted(self):
        play = played()
        counts = check(verification(whole=False), events_of(play)[3:], outputs_of(play)[3:])
        assert (counts.left_out, counts.outputs) == (1, 0)

    def test_a_conversation_whose_next_message_comes_later_is_left_out_too(self):
        play = played()
        second = len(play.history)
        play.message("three", "m3")
        play.complete("a", "A3")
        play.complete("b", "B3")
        outputs = outputs_of(play)
        third = at(outputs, RunStarted, 2)
        counts = check(verification(whole=False), events_of(play)[second:], outputs[third:])
        assert (counts.left_out, counts.outputs, counts.conversations) == (1, 0, 0)

    def test_a_conversation_that_begins_in_the_period_is_verified(self):
        old, new = played(), played()
        events = [event.model_copy(update={"conversation_id": "c2"}) for event in new.history]
        other = Play(CHAIN)
        for event in events:
            other.feed(event)
        cut = 4
        records = renumbered([*events_of(old)[cut:], *lying(CONVERSATION_EVENTS, other.history)])
        outputs = renumbered([*outputs_of(old)[5:], *outputs_of(other)])
        counts = check(verification(whole=False), records, outputs)
        assert (counts.left_out, counts.conversations) == (1, 1)
        assert counts.outputs == len(outputs_of(other))

    def test_a_conversation_with_an_event_from_before_the_period_is_left_out(self):
        """It lies within, behind a record that is ahead; its decisions may lie before where the outputs are read from."""
        play = played()
        events, outputs = events_of(play), outputs_of(play)
        checked = verification(whole=False)
        checked.before(events[0])
        checked.before(replace(events[0], value=b"garbage"))
        counts = check(checked, events[1:], outputs[at(outputs, RunFinished) :])
        assert (counts.left_out, counts.outputs) == (1, 0)

    def test_an_event_that_is_late_for_a_conversation_of_the_period_is_decided_about(self):
        play = played()
        events, outputs = events_of(play), outputs_of(play)
        checked = verification(whole=False)
        checked.event(events[0])
        checked.before(events[1])
        assert check(checked, events[2:], outputs).outputs == len(outputs)

    def test_a_difference_in_it_is_found(self):
        play = played()
        outputs = outputs_of(play)
        where = at(outputs, NodeFinished)
        outputs[where] = rewritten(outputs[where], attempt=7)
        assert difference(events_of(play), outputs, whole=False).kind == "changed"
