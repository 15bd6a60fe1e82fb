"""What a conversation may cost: shared among the nodes at work, counted once, and never more than the limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import CancelRequested, NodeCompleted, NodeTask, Outcome
from schemas.events.workflow import Decided
from schemas.ids import derive
from streams.core.budgets import MAX_ABANDONED, left
from streams.core.graph import Graph
from streams.core.reducer import decide
from streams.core.state import Conversation, ConversationCodec
from tests.support.play import Play, graph

CENT = 10_000
DIAMOND = (["a", "b", "c", "d"], [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "END")])


def limited(usd: str | None, shape: Any = DIAMOND, **more: Any) -> Graph:
    controls = {} if usd is None else {"cost_controls": {"max_cost_per_conversation": usd}}
    return graph(*shape, **controls, **more)


def budgets(play: Play) -> dict[str, int | None]:
    """Node → what its latest task may spend."""
    return {output.node_id: output.budget_micro_usd for output in play.outputs if isinstance(output, NodeTask)}


def test_a_node_alone_may_spend_all_that_is_left():
    play = Play(limited("0.50"))
    play.message()
    assert budgets(play) == {"a": 50 * CENT}


def test_nodes_asked_for_together_share_what_their_predecessor_left():
    play = Play(limited("0.50"))
    play.message()
    play.complete("a", cost_micro_usd=10 * CENT)
    assert budgets(play) == {"a": 50 * CENT, "b": 20 * CENT, "c": 20 * CENT}


def test_a_share_that_was_not_used_goes_to_the_next_node():
    play = Play(limited("0.50"))
    play.message()
    play.complete("a", cost_micro_usd=10 * CENT)
    play.complete("b", cost_micro_usd=CENT)
    play.complete("c", cost_micro_usd=2 * CENT)
    assert budgets(play)["d"] == 37 * CENT
    assert play.task("d").conversation_cost_micro_usd == 13 * CENT


def test_the_next_run_of_the_conversation_has_what_the_first_one_left():
    play = Play(limited("0.50", (["a"], [("a", "END")])))
    play.message(message_id="m1")
    play.complete("a", cost_micro_usd=30 * CENT)
    play.message(message_id="m2")
    assert budgets(play) == {"a": 20 * CENT}


def test_more_than_was_allowed_leaves_less_for_the_others_and_never_less_than_nothing():
    play = Play(limited("0.50"))
    play.message()
    play.complete("a", cost_micro_usd=70 * CENT)
    assert budgets(play) == {"a": 50 * CENT, "b": 0, "c": 0}


def test_attempts_of_a_node_share_its_allowance():
    play = Play(limited("0.50"))
    play.message()
    play.complete("a", cost_micro_usd=10 * CENT)
    play.complete("b", outcome=Outcome.RETRYABLE, error="busy", cost_micro_usd=5 * CENT)
    play.fire()
    assert (play.task("b").attempt, budgets(play)["b"]) == (2, 20 * CENT)


def test_a_node_asked_for_again_gets_what_has_become_free_meanwhile():
    play = Play(limited("0.50"))
    play.message()
    play.complete("a", cost_micro_usd=10 * CENT)
    play.complete("b", outcome=Outcome.RETRYABLE, error="too little", cost_micro_usd=0)
    play.complete("c", cost_micro_usd=CENT)
    play.fire()
    assert budgets(play)["b"] == 39 * CENT


TIMED = ([{"id": "a", "timeout_seconds": 1, "retry": {"max_attempts": 2}}], [("a", "END")])


def test_an_attempt_that_was_given_up_on_keeps_its_hold_until_it_is_heard_of():
    """It may still be spending: the next message must not count on what it holds."""
    play = Play(limited("0.50", TIMED))
    play.message(message_id="m1")
    late = [play.completion("a", cost_micro_usd=4 * CENT, outcome=Outcome.RETRYABLE, error="slow")]
    play.fire()  # attempt 2
    late.append(play.completion("a", cost_micro_usd=CENT, outcome=Outcome.RETRYABLE, error="slow"))
    play.fire()  # failed
    play.message(message_id="m2")
    assert budgets(play) == {"a": 0}
    for event in late:
        play.feed(event)
        play.feed(event)  # a crash repeats it
    assert play.conversation is not None
    assert play.conversation.spent_micro_usd == 5 * CENT
    play.fire()
    assert budgets(play) == {"a": 45 * CENT}


def test_an_end_that_the_worker_repeats_for_the_later_attempt_is_counted_once():
    play = Play(limited("0.50", TIMED))
    play.message()
    late = play.completion("a", "done", cost_micro_usd=4 * CENT)
    play.fire()
    play.feed(late)
    play.complete("a", "done", cost_micro_usd=4 * CENT)
    assert play.conversation is not None
    assert (play.conversation.spent_micro_usd, play.conversation.holds) == (4 * CENT, ())


def test_holds_that_nobody_ends_are_written_off_in_the_end():
    play = Play(limited("0.50", ([{"id": "a", "timeout_seconds": 1, "retry": {"max_attempts": 1}}], [("a", "END")])))
    for number in range(MAX_ABANDONED + 3):
        play.message(message_id=f"m{number}")
        play.fire()
    assert play.conversation is not None
    assert len(play.conversation.holds) == MAX_ABANDONED
    assert play.conversation.spent_micro_usd == 50 * CENT


def test_what_runs_without_a_limit_spent_counts_for_a_run_that_has_one():
    free, bound = limited(None, digest="free"), limited("0.50", digest="bound")
    play = Play(free)
    play.message(message_id="m1")
    for node in "abcd":
        play.complete(node, cost_micro_usd=CENT)
    play.graph = bound
    play.message(message_id="m2")
    assert play.task("a").budget_micro_usd == 46 * CENT


@pytest.mark.parametrize("usd", ["0.50", "0", "1000000"])
def test_a_limit_changes_no_decision_and_only_the_tasks_budget(usd: str):
    """What is on workflow.events stays verifiable when a limit begins to be enforced."""
    with_limit, without = Play(limited(usd)), Play(limited(None))
    for play in (with_limit, without):
        play.message()
        play.complete("a", outcome=Outcome.RETRYABLE, error="busy", cost_micro_usd=90 * CENT)
        play.fire()
        for node in "abcd":
            play.complete(node, node, cost_micro_usd=CENT)
    assert [out for out in with_limit.outputs if isinstance(out, Decided)] == [
        out for out in without.outputs if isinstance(out, Decided)
    ]
    unset = {"budget_micro_usd": None, "conversation_cost_micro_usd": 0}
    assert [out.model_copy(update=unset) if isinstance(out, NodeTask) else out for out in with_limit.outputs] == without.outputs
    assert all(out.budget_micro_usd is None for out in without.outputs if isinstance(out, NodeTask))


def test_an_idle_conversation_that_spent_much_is_still_small():
    play = Play(limited("1000000"))
    for number in range(40):
        play.message(message_id=f"m{number}")
        for node in "abcd":
            play.complete(node, "x" * 500, cost_micro_usd=123_456_789)
    assert play.conversation is not None
    assert len(ConversationCodec().encode(play.conversation)) <= 400


def test_a_state_from_before_there_were_budgets_is_read():
    play = Play(limited("0.50"))
    play.message()
    assert play.conversation is not None
    codec = ConversationCodec()
    older = [getattr(play.conversation, name) for name in Conversation.__struct_fields__[:6]]
    read = codec.decode(codec._encoder.encode(older))
    assert (read.spent_micro_usd, read.holds, read.run) == (0, (), play.conversation.run)


SHAPES = (
    DIAMOND,
    (["a", "b", "c", "d", "e"], [("a", "END"), ("b", "d"), ("c", "e"), ("d", "END"), ("e", "END")]),
    (
        [{"id": name, "timeout_seconds": 1, "retry": {"max_attempts": 2, "initial_delay_seconds": 0.1}} for name in "abc"],
        [("a", "c"), ("b", "c"), {"from": "b", "to": "END", "on": "failure"}, ("c", "END")],
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_happens_the_attempts_of_a_conversation_spend_no_more_than_its_limit(data: st.DataObject):
    """Nodes in parallel, retries, time-outs, cancelled runs, repeats, late ends; workers that spend all they are allowed.

    The worker's side is played as it is: attempts of a node one after the other, their sum within the task's budget, an end
    that was final is given again to a later attempt.
    """
    limit = data.draw(st.integers(0, 40)) * CENT
    play = Play(limited(str(limit / 1_000_000), data.draw(st.sampled_from(SHAPES))))
    spent: dict[str, int] = {}  # execution → by all its attempts
    final: dict[str, NodeCompleted] = {}
    waiting: list[NodeTask] = []
    said: list[NodeCompleted] = []
    seen = 0
    for number in range(data.draw(st.integers(5, 40))):
        waiting += [output for output in play.outputs[seen:] if isinstance(output, NodeTask)]
        seen = len(play.outputs)
        conversation = play.conversation or Conversation()
        assert conversation.spent_micro_usd + sum(map(left, conversation.holds)) <= limit or conversation == Conversation()
        moves = ["message"] + ["work"] * 4 * bool(waiting) + ["repeat"] * bool(said)
        moves += ["timer"] * bool(conversation.timers) + ["cancel"] * (conversation.run is not None)
        match data.draw(st.sampled_from(moves)):
            case "message":
                play.message(message_id=f"m{number}")
            case "timer":
                play.fire()
            case "cancel":
                assert conversation.run is not None
                cancel(play, conversation.run.run_id, number)
            case "repeat":
                play.feed(data.draw(st.sampled_from(said)))
            case "work":
                at = data.draw(st.integers(0, len(waiting) - 1))
                first = next(task for task in waiting if task.execution_id == waiting[at].execution_id)
                waiting.remove(first)
                said.append(works(data, first, spent, final))
                play.feed(said[-1])
    assert sum(spent.values()) <= limit
    assert play.conversation is None or sum(spent.values()) <= play.conversation.spent_micro_usd + sum(
        map(left, play.conversation.holds)
    )


def works(data: st.DataObject, task: NodeTask, spent: dict[str, int], final: dict[str, NodeCompleted]) -> NodeCompleted:
    assert task.budget_micro_usd is not None
    before = spent.get(task.execution_id, 0)
    ended = {"id": derive(task.id, "end"), "attempt": task.attempt, "epoch": task.epoch}
    if task.execution_id in final:
        return final[task.execution_id].model_copy(update=ended)
    cost = data.draw(st.sampled_from((0, 1, max(0, task.budget_micro_usd - before))))
    cost = min(cost, max(0, task.budget_micro_usd - before))
    spent[task.execution_id] = before + cost
    outcome = data.draw(st.sampled_from((Outcome.OK, Outcome.OK, Outcome.RETRYABLE, Outcome.FATAL, Outcome.PARK)))
    fields = {name: getattr(task, name) for name in ("conversation_id", "run_id", "node_id", "execution_id", "time_ms")}
    event = NodeCompleted(**fields, **ended, outcome=outcome, error="why", output="x", cost_micro_usd=cost)
    if outcome is not Outcome.RETRYABLE:
        final[task.execution_id] = event
    return event


def cancel(play: Play, run_id: str, number: int) -> None:
    play.feed(CancelRequested(id=derive(run_id, number), time_ms=play.now_ms, conversation_id="c1", run_id=run_id))


def test_deciding_twice_gives_the_same_budgets_twice():
    first, second = Play(limited("0.50")), Play(limited("0.50"))
    for play in (first, second):
        play.message()
        play.complete("a", cost_micro_usd=7)
    assert first.outputs == second.outputs
    assert first.conversation == second.conversation
    event = first.completion("b", cost_micro_usd=3)
    once = decide(first.conversation, event, {first.graph.digest: first.graph})
    assert once == decide(first.conversation, event, {first.graph.digest: first.graph})
