"""Whatever is put together of a conversation can be written: the largest parts that are let in add up to less than a record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.codec import MAX_INBOUND_BYTES, encode
from schemas.events import CustomerResponse, MessageSetAside, NodeFinished, NodeTask, Outcome, RerunRequested
from schemas.ids import derive
from schemas.topics import MAX_MESSAGE_BYTES
from streams.core import bounds
from streams.core.bounds import RULES
from streams.core.state import ConversationCodec
from tests.support.play import DIGEST, Play, graph

WIDE = graph(
    [
        *(f"n{number}" for number in range(10)),
        {"id": "last", "prompt_template": " ".join(f"{{{{ n{n}.output }}}}" for n in range(10))},
    ],
    [*((f"n{number}", "last") for number in range(10)), ("last", "END")],
)
LARGEST = 262_144
"""Of a completion, as its worker sees to it."""


def written(play: Play) -> int:
    assert play.conversation is not None
    return len(ConversationCodec().encode(play.conversation))


def waiting(play: Play) -> int:
    assert play.conversation is not None
    return len(play.conversation.queue)


@pytest.mark.parametrize(("size", "fit"), [(199_000, 5), (600_000, 1), (10, 99)])
def test_messages_that_wait_are_bounded_in_bytes_as_well(size: int, fit: int):
    """Twelve messages of 800 kB, or sixty of 199 kB, once made a state that nobody could write."""
    play = Play(WIDE)
    play.message("first", "m0", rules=RULES)
    for number in range(1, 100):
        play.message("x" * size, f"m{number}", rules=RULES)
    assert waiting(play) == fit
    refused = [response for response in play.responses() if response.status == "refused"]
    assert len(refused) == 99 - fit
    assert written(play) < MAX_MESSAGE_BYTES // 2
    if refused:
        assert f"{bounds.QUEUE_BYTES:,} bytes together" in (refused[0].error or "")
        reasons = [output.reason for output in play.outputs if isinstance(output, MessageSetAside)]
        assert reasons.count("refused") == 99 - fit


def test_the_largest_message_that_is_admitted_may_wait():
    play = Play(WIDE)
    play.message("first", "m0", rules=RULES)
    text = "x" * (bounds.MESSAGE_BYTES - 5)
    assert bounds.message_bytes(text, {}, {}) == bounds.MESSAGE_BYTES
    play.message(text, "m1", rules=RULES)
    assert waiting(play) == 1


def test_what_was_queued_before_there_was_a_bound_is_decided_as_it_was():
    play = Play(WIDE)
    for number in range(20):
        play.message("x" * 199_000, f"m{number}")
    assert waiting(play) == 19


def test_an_output_that_does_not_fit_into_its_run_fails_its_node_in_words():
    play = Play(WIDE)
    play.message(rules=RULES)
    for number in range(10):
        play.complete(f"n{number}", "x" * (LARGEST - 1_000))
    failed = [output for output in play.outputs if isinstance(output, NodeFinished) and output.status == "failed"]
    assert [output.node_id for output in failed] == ["n8", "n9"]
    assert f"the outputs of one run may have {bounds.OUTPUTS_BYTES:,} together" in (failed[0].reason or "")
    assert play.task("last").outputs.keys() == {f"n{number}" for number in range(8)}, "the run goes on"


def test_a_node_that_does_not_fit_may_have_a_substitute_and_a_way_out():
    shape = graph([{"id": "a", "on_error": {"output": "shorter"}}, "b"], [("a", "b"), ("b", "END")])
    play = Play(shape)
    play.message(rules=RULES)
    play.complete("a", "x" * (bounds.OUTPUTS_BYTES + 1))
    assert play.task("b").outputs == {"a": "shorter"}
    taken = Play(graph(["a", "b"], [{"from": "a", "to": "b", "on": "failure"}, ("b", "END")]))
    taken.message(rules=RULES)
    taken.complete("a", "x" * (bounds.OUTPUTS_BYTES + 1))
    taken.complete("b", "sorry, too much")
    assert taken.responses()[0].text == "sorry, too much"


def test_a_substitute_that_does_not_fit_either_fails_the_node():
    shape = graph([{"id": "a", "on_error": {"output": "x" * (bounds.OUTPUTS_BYTES + 1)}}], [("a", "END")])
    play = Play(shape)
    play.message(rules=RULES)
    play.complete("a", outcome=Outcome.FATAL, error="no")
    assert play.responses()[0].status == "failed"


def test_errors_are_cut():
    play = Play(WIDE)
    play.message(rules=RULES)
    for number in range(10):
        play.complete(f"n{number}", outcome=Outcome.FATAL, error="\x01" * LARGEST)
    [response] = play.responses()
    assert len(encode(response)[0]) < 500_000
    assert all(len(entry.error or "") <= bounds.ERROR_CHARACTERS for entry in response.trace)


def outputs() -> list[Any]:
    """What is longest in one form or another: floats in MessagePack, quotes and controls in JSON that is quoted again."""
    fill = {"floats": [0.5] * 25_000, "quotes": '"' * 100_000, "controls": "\x01" * 40_000, "wide": "🙂" * 60_000}
    return [*fill.values(), dict.fromkeys(("one",), "'" * 200000), [{"a": '"\\'} for _ in range(20_000)]]


@pytest.mark.parametrize("output", outputs(), ids=lambda output: str(output)[:12])
def test_the_largest_records_of_a_conversation_fit(output: Any):
    """The largest message, queue and outputs together: each record that is made of them is smaller than topics accept."""
    text = "🙂" * 200_000
    context = {"pad": "\\" * 80_000}
    play = Play(WIDE)
    assert bounds.message_bytes(text, context, {}) <= bounds.MESSAGE_BYTES
    assert len(json.dumps({"text": text, "context": context}, ensure_ascii=False).encode()) <= MAX_INBOUND_BYTES
    play.message(text, "m0", context=context, rules=RULES)
    play.message(text, "m1", context=context, rules=RULES)
    play.message("x", "m2", rules=RULES)
    for number in range(10):
        play.complete(f"n{number}", output)
    assert written(play) < MAX_MESSAGE_BYTES
    play.complete("last", output)
    largest = {type(event).__name__: len(encode(event)[0]) for event in sorted(play.outputs, key=lambda e: len(encode(e)[0]))}
    assert all(size < MAX_MESSAGE_BYTES for size in largest.values()), largest
    assert {NodeTask.__name__, CustomerResponse.__name__} <= largest.keys()


def test_a_rerun_with_its_outputs_waits_within_the_same_bound():
    def asked(size: int) -> RerunRequested:
        node = {"node_id": "n0", "status": "executed", "output": "x" * size}
        return RerunRequested(
            id=derive("again", size),
            time_ms=play.now_ms,
            conversation_id="c1",
            rerun_of="r",
            from_node="last",
            message_id="m0",
            ordinal=1,
            text="hi",
            workflow="play",
            version="1.0.0",
            digest=DIGEST,
            nodes=[node],  # type: ignore[list-item]  # pydantic makes one of it
            rules=RULES,
        )

    play = Play(WIDE)
    play.message("first", "m0", rules=RULES)
    play.feed(asked(1_000))
    play.feed(asked(bounds.QUEUE_BYTES))
    assert waiting(play) == 1
    assert [response.status for response in play.responses()] == ["refused"]


def test_the_sums_of_the_table_stay_below_what_topics_accept():
    message, queue, out = bounds.MESSAGE_BYTES, bounds.QUEUE_BYTES, bounds.OUTPUTS_BYTES
    state, task, response, again = message + queue + out, 3 * message + out, 3 * out, message + out
    assert message <= queue
    assert max(state, task, response, again) < MAX_MESSAGE_BYTES * 4 // 5, "a fifth is left for names, ids and what is cut"
