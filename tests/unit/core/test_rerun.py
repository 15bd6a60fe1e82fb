"""A run that begins in the middle of an old one."""

from __future__ import annotations

from typing import Any

from schemas.events import (
    MessageSetAside,
    NodeFinished,
    NodeRequested,
    NodeStatus,
    Outcome,
    RerunRequested,
    ReusedNode,
    RunStarted,
)
from schemas.ids import derive
from streams.core.rerun import after
from streams.core.state import ConversationCodec
from tests.support.play import Play, graph, requested

CHAIN = graph(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "END")])
BRANCHES = graph(
    ["sort", "left", "right", "join"],
    [
        ("sort", "left", "output == 'l'"),
        ("sort", "right", "output == 'r'"),
        ("left", "join"),
        ("right", "join"),
        ("join", "END"),
    ],
)


def rerun(play: Play, from_node: str, *, number: int = 1, of: int = -1) -> RerunRequested:
    """The request an operator makes: the old run's nodes, less those after `from_node`."""
    started = [output for output in play.outputs if isinstance(output, RunStarted)][of]
    again = after(play.graph, from_node)
    ended = [o for o in play.outputs if isinstance(o, NodeFinished) and o.run_id == started.run_id and o.node_id not in again]
    play.now_ms += 10
    return RerunRequested(
        id=derive(started.run_id, from_node, number),
        time_ms=play.now_ms,
        conversation_id="c1",
        rerun_of=started.run_id,
        from_node=from_node,
        message_id=started.message_id,
        ordinal=started.ordinal,
        text=started.text,
        workflow=started.workflow,
        version=started.version,
        digest=started.digest,
        nodes=[
            ReusedNode(node_id=o.node_id, status=o.status.value, output=o.output, error=o.error, reason=o.reason) for o in ended
        ],
    )


def chain() -> Play:
    play = Play(CHAIN)
    play.message("where?")
    for name in "abc":
        play.complete(name, name.upper())
    return play


def test_only_the_node_asked_for_and_what_follows_it_run_again():
    play = chain()
    outputs = play.feed(rerun(play, "b"))
    assert requested(outputs) == ["b"]
    assert play.task("b").outputs == {"a": "A"}
    play.complete("b", "B2")
    play.complete("c", "C2")
    assert play.responses()[-1].outputs == {"a": "A", "b": "B2", "c": "C2"}
    assert play.responses()[-1].status == "completed"
    assert play.responses()[-1].message_id == play.responses()[0].message_id
    assert play.responses()[-1].id != play.responses()[0].id


def test_what_is_taken_over_is_told_and_costs_nothing():
    play = chain()
    outputs = play.feed(rerun(play, "c"))
    [started] = [o for o in outputs if isinstance(o, RunStarted)]
    assert (started.rerun_of, started.rerun_from) == (play.responses()[0].run_id, "c")
    taken = [o for o in outputs if isinstance(o, NodeFinished)]
    assert [(o.node_id, o.status, o.attempt, o.cost_micro_usd) for o in taken] == [
        ("a", NodeStatus.EXECUTED, 0, 0),
        ("b", NodeStatus.EXECUTED, 0, 0),
    ]
    assert all(started.rerun_of in (o.reason or "") for o in taken)


def test_a_branch_that_was_not_taken_is_not_taken_again():
    play = Play(BRANCHES)
    play.message()
    play.complete("sort", "l")
    play.complete("left", "L")
    play.complete("join", "J")
    assert requested(play.feed(rerun(play, "left"))) == ["left"]
    assert requested(play.complete("left", "L2")) == ["join"]
    play.complete("join", "J2")
    assert play.ends()[-1].skipped == ["right"]


def test_from_the_first_node_everything_runs_again():
    play = chain()
    assert requested(play.feed(rerun(play, "a"))) == ["a"]


def test_the_message_keeps_its_place_in_the_conversation():
    """Memory shows an agent what came before the message, not the answer it is about to replace."""
    play = chain()
    play.feed(rerun(play, "c"))
    assert play.task("c").ordinal == 1
    play.complete("c", "C2")
    assert [end.ordinal for end in play.ends()] == [2, 3]
    play.message("thanks", "m2")
    assert play.task("a").ordinal == 4


def test_a_repeat_of_the_request_is_known():
    play = chain()
    request = rerun(play, "b")
    play.feed(request)
    [aside] = play.feed(request)
    assert isinstance(aside, MessageSetAside)
    assert aside.reason == "repeated"


def test_a_request_waits_for_the_run_in_flight_and_survives_a_restart():
    play = chain()
    play.message("another", "m2")
    request = rerun(play, "b", of=0)
    [aside] = play.feed(request)
    assert isinstance(aside, MessageSetAside)
    assert aside.reason == "queued"
    codec = ConversationCodec()
    assert play.conversation is not None
    play.conversation = codec.decode(codec.encode(play.conversation))
    for name in "abc":
        last = play.complete(name, name.upper() + "2")
    assert requested(last) == ["b"]


def test_a_failure_that_an_edge_took_up_is_taken_over_as_it_was():
    helped = graph(["a", "plan_b", "c"], [{"from": "a", "to": "plan_b", "on": "failure"}, ("plan_b", "c"), ("c", "END")])
    play = Play(helped)
    play.message()
    play.complete("a", outcome=Outcome.FATAL, error="no")
    play.complete("plan_b", "B")
    play.complete("c", "C")
    assert requested(play.feed(rerun(play, "c"))) == ["c"]
    play.complete("c", "C2")
    assert (play.responses()[-1].status, play.ends()[-1].failed) == ("completed", ["a"])


def test_the_digest_of_a_runs_end_shows_what_its_outputs_do_not():
    """Two runs that say the same, one after an attempt more: another state."""

    def digest(**fields: Any) -> str | None:
        play = Play(CHAIN)
        play.message()
        play.complete("a", "A")
        play.complete("b", "B")
        play.complete("c", "C", **fields)
        return play.ends()[0].state_digest

    assert digest() == digest()
    assert digest() != digest(tools=["shopify.get_order"])
    assert (digest() or "").startswith("1:")


def test_a_rerun_requests_nothing_of_the_nodes_it_takes_over():
    play = chain()
    outputs = play.feed(rerun(play, "c"))
    assert [o.node_id for o in outputs if isinstance(o, NodeRequested)] == ["c"]
