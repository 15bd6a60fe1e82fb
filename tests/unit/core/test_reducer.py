"""Every transition of a run: feed events, compare outputs."""

from __future__ import annotations

import pytest

from schemas.events import CancelRequested, HumanTask, MessageSetAside, NodeFinished, NodeStatus, NodeTask, Outcome, RunStarted
from streams.core.reducer import QUEUE_BOUND, decide
from streams.core.state import SEEN_MESSAGES, ConversationCodec
from tests.support.play import Play, graph, requested

BRANCHES = ("order", "return", "complaint", "general")
SUPPORT = graph(
    ["classify", *BRANCHES, "assemble"],
    [
        *[("classify", branch, f"output.intent == '{branch}'") for branch in BRANCHES],
        *[(branch, "assemble") for branch in BRANCHES],
        ("assemble", "END"),
    ],
)
LINE = graph(["a", "b"], [("a", "b"), ("b", "END")])


def test_join_runs_once_when_three_of_four_branches_are_skipped():
    """The customer's workflow: one branch taken, three dead, one common node."""
    play = Play(SUPPORT)
    play.message("where is order 7?")
    assert requested(play.complete("classify", {"intent": "order"})) == ["order"]
    assert requested(play.complete("order", "on its way")) == ["assemble"]
    play.complete("assemble", "It is on its way.")
    [end] = play.ends()
    assert (end.status, end.executed, sorted(end.skipped)) == (
        "completed",
        ["classify", "order", "assemble"],
        ["complaint", "general", "return"],
    )


def test_a_run_has_exactly_one_response_with_the_text_of_the_node_before_end():
    play = Play(LINE)
    play.message("hi")
    play.complete("a", {"x": 1})
    play.complete("b", {"response": "done"})
    [response] = play.responses()
    assert (response.status, response.text, response.message_id) == ("completed", "done", "m1")
    assert response.outputs == {"a": {"x": 1}, "b": {"response": "done"}}
    assert [(entry.node, entry.status) for entry in response.trace] == [("a", "executed"), ("b", "executed")]


def test_the_same_input_twice_gives_the_same_outputs_twice():
    first, second = Play(SUPPORT), Play(SUPPORT)
    for play in (first, second):
        play.message()
        play.complete("classify", {"intent": "general"})
        play.complete("general", "x")
        play.complete("assemble", "y")
    assert first.outputs == second.outputs
    assert len({output.id for output in first.outputs}) == len(first.outputs), "every output has an id of its own"


def test_a_repeated_message_is_answered_once():
    play = Play(LINE)
    play.message(message_id="m1")
    repeat = play.message(message_id="m1")
    assert [output.reason for output in repeat if isinstance(output, MessageSetAside)] == ["repeated"]
    assert requested(repeat) == []


def test_a_repeat_is_known_among_the_latest_messages():
    play = Play(graph(["a"], [("a", "END")]))
    for number in range(SEEN_MESSAGES):
        play.message(message_id=f"m{number}")
        play.complete("a", "x")
    assert requested(play.message(message_id="m0")) == []


def test_a_repeated_completion_changes_nothing():
    play = Play(LINE)
    play.message()
    event = play.completion("a", "x")
    play.feed(event)
    before = play.conversation
    assert [type(output) for output in play.feed(event)] == [MessageSetAside]
    assert play.conversation == before


def test_later_messages_wait_for_their_turn_in_order():
    play = Play(graph(["a"], [("a", "END")]))
    play.message(message_id="m1")
    assert requested(play.message(message_id="m2")) == []
    play.message(message_id="m3")
    for _ in range(3):
        play.complete("a", "x")
    assert [response.message_id for response in play.responses()] == ["m1", "m2", "m3"]
    starts = [output for output in play.outputs if isinstance(output, RunStarted)]
    assert [start.ordinal for start in starts] == [1, 3, 5]


def test_one_message_too_many_is_refused_with_a_response():
    play = Play(LINE)
    for number in range(QUEUE_BOUND + 1):
        play.message(message_id=f"m{number}")
    assert play.responses() == []
    play.message(message_id="straw")
    [response] = play.responses()
    assert (response.status, response.message_id) == ("refused", "straw")


def test_a_condition_that_raises_fails_the_node_and_the_run_says_so():
    play = Play(graph(["a", "b"], [("a", "b", "length(output.none)"), ("b", "END")]))
    play.message()
    play.complete("a", {"x": 1})
    [response] = play.responses()
    assert response.status == "failed"
    assert "a: " in (response.error or "")
    [end] = play.ends()
    assert (end.executed, end.failed, end.skipped) == ([], ["a"], ["b"])


def test_a_false_condition_skips_the_node_and_what_only_it_leads_to():
    play = Play(
        graph(
            ["a", {"id": "b", "condition": {"type": "jmespath", "expression": "a.output.go"}}, "c"],
            [("a", "b"), ("b", "c"), ("a", "END")],
        )
    )
    play.message()
    play.complete("a", {"go": False, "text": "bye"})
    [end] = play.ends()
    assert (end.executed, end.skipped, end.status) == (["a"], ["b", "c"], "completed")


def test_join_all_fails_when_some_in_edge_was_skipped():
    play = Play(
        graph(
            ["a", "b", "c", {"id": "d", "join": "all"}],
            [("a", "b"), ("a", "c", "output.c"), ("b", "d"), ("c", "d"), ("d", "END")],
        )
    )
    play.message()
    play.complete("a", {"c": False})
    play.complete("b", "x")
    [end] = play.ends()
    assert (end.failed, end.status) == (["d"], "failed")


def test_join_all_in_a_branch_that_was_not_chosen_is_skipped():
    play = Play(
        graph(
            ["a", "b", "c", {"id": "d", "join": "all"}, "e"],
            [("a", "b", "output.x"), ("a", "c", "output.x"), ("b", "d"), ("c", "d"), ("a", "e"), ("e", "END")],
        )
    )
    play.message()
    play.complete("a", {"x": False})
    play.complete("e", "x")
    [end] = play.ends()
    assert (end.failed, sorted(end.skipped), end.status) == ([], ["b", "c", "d"], "completed")


def test_an_on_failure_edge_takes_the_failure_up():
    play = Play(
        graph(["a", "b", "rescue"], [("a", "b"), {"from": "a", "to": "rescue", "on": "failure"}, ("b", "END"), ("rescue", "END")])
    )
    play.message()
    assert requested(play.complete("a", outcome=Outcome.FATAL, error="broken")) == ["rescue"]
    play.complete("rescue", "we are sorry")
    [response] = play.responses()
    assert (response.status, response.text) == ("completed", "we are sorry")


def test_an_on_failure_edge_is_skipped_when_the_node_succeeds():
    play = Play(graph(["a", "rescue"], [("a", "END"), {"from": "a", "to": "rescue", "on": "failure"}]))
    play.message()
    play.complete("a", "fine")
    [end] = play.ends()
    assert (end.executed, end.skipped) == (["a"], ["rescue"])


def test_on_error_substitutes_an_output():
    play = Play(
        graph([{"id": "a", "on_error": {"output": {"score": 0}}}, "b"], [("a", "b", "output.score == `0`"), ("b", "END")])
    )
    play.message()
    assert requested(play.complete("a", outcome=Outcome.FATAL, error="broken")) == ["b"]
    assert play.task("b").outputs == {"a": {"score": 0}}


def test_an_unhandled_failure_lets_other_branches_finish_and_answers_with_the_failure_response():
    play = Play(graph(["a", "b", "c"], [("a", "b"), ("a", "c"), ("b", "END"), ("c", "END")], failure_response="Please call us."))
    play.message()
    play.complete("a", {})
    play.complete("b", outcome=Outcome.FATAL, error="no such model")
    assert play.responses() == []
    play.complete("c", "fine")
    [response] = play.responses()
    assert (response.status, response.text, response.error) == ("failed", "Please call us.", "b: no such model")


def test_a_retryable_failure_is_attempted_again_after_a_back_off_that_doubles():
    play = Play(graph([{"id": "a", "retry": {"max_attempts": 3, "initial_delay_seconds": 2}}], [("a", "END")]))
    play.message()
    waits = []
    for full in (2_000, 4_000):
        assert requested(play.complete("a", outcome=Outcome.RETRYABLE, error="busy")) == []
        failed_at = play.now_ms
        assert requested(play.fire()) == ["a"]
        waits.append((play.now_ms - failed_at) / full)
    assert all(0.5 <= wait <= 1 for wait in waits)
    assert waits[0] != waits[1], "jitter differs from attempt to attempt"
    assert [play.task("a").attempt, play.task("a").id == play.task("a").execution_id] == [3, False]
    play.complete("a", outcome=Outcome.RETRYABLE, error="busy")
    assert [response.status for response in play.responses()] == ["failed"]


def test_a_provider_may_ask_for_a_longer_wait_than_ours():
    play = Play(graph(["a"], [("a", "END")]))
    play.message()
    play.complete("a", outcome=Outcome.RETRYABLE, error="busy", retry_after_ms=90_000)
    assert play.conversation is not None
    assert play.conversation.timers[0].due_ms - play.now_ms == 90_000


def test_a_timer_that_fires_twice_asks_once():
    play = Play(graph(["a"], [("a", "END")]))
    play.message()
    play.complete("a", outcome=Outcome.RETRYABLE, error="busy")
    play.fire()
    assert [type(output) for output in play.feed(play.history[-1])] == [MessageSetAside]


def test_a_parked_node_asks_a_person_and_tells_the_customer():
    play = Play(LINE)
    play.message()
    outputs = play.complete("a", outcome=Outcome.PARK, error="unknown whether the label was made")
    assert [output.reason for output in outputs if isinstance(output, HumanTask)] == ["unknown whether the label was made"]
    assert [response.status for response in play.responses()] == ["handed_over"]


def test_a_definition_that_is_gone_fails_the_run_with_words():
    play = Play(LINE)
    event_play = Play(graph(["a"], [("a", "END")], digest="other"))
    event_play.message()
    decision = decide(None, event_play.history[0], {LINE.digest: LINE})
    play.outputs = decision.outputs
    [response] = play.responses()
    assert response.status == "failed"
    assert "not published" in (response.error or "")


def test_a_task_sees_its_predecessors_and_the_nodes_its_text_names():
    play = Play(
        graph(["a", "b", {"id": "c", "prompt_template": "{{ a.output }} {{ text }}"}], [("a", "b"), ("b", "c"), ("c", "END")])
    )
    play.message("hi")
    play.complete("a", 1)
    play.complete("b", 2)
    assert play.task("b").outputs == {"a": 1}
    assert play.task("c").outputs == {"a": 1, "b": 2}
    assert play.task("c").finished == ["a", "b"]


def test_costs_and_tools_of_all_attempts_add_up():
    play = Play(graph(["a"], [("a", "END")]))
    play.message()
    play.complete("a", outcome=Outcome.RETRYABLE, error="busy", cost_micro_usd=700, tools=["shop.get"])
    play.fire()
    play.complete("a", "x", cost_micro_usd=50, tools=["shop.get", "mail.send"])
    [response] = play.responses()
    assert str(response.cost_usd) == "0.000750"
    assert response.trace[0].tools == ["shop.get", "mail.send"]


def test_several_starts_run_at_once_and_meet_once():
    play = Play(graph(["a", "b", "c"], [("a", "c"), ("b", "c"), ("c", "END")]))
    assert requested(play.message()) == ["a", "b"]
    assert requested(play.complete("b", 1)) == []
    assert requested(play.complete("a", 2)) == ["c"]


def test_a_run_that_reaches_no_end_says_so():
    play = Play(graph(["a", "b"], [("a", "b", "output.never"), ("b", "END")]))
    play.message()
    play.complete("a", {"never": False})
    [response] = play.responses()
    assert response.status == "completed"
    assert "END" in (response.error or "")


def test_every_node_ends_once():
    play = Play(SUPPORT)
    play.message()
    play.complete("classify", {"intent": "return"})
    play.complete("return", "r")
    play.complete("assemble", "s")
    ends = [(output.node_id, output.status) for output in play.outputs if isinstance(output, NodeFinished)]
    assert len(ends) == len(SUPPORT.nodes)
    assert sum(status is NodeStatus.SKIPPED for _, status in ends) == 3


def test_state_survives_the_changelog():
    play = Play(SUPPORT)
    play.message("hé 漢字", context={"vip": True})
    play.message(message_id="m2")
    play.complete("classify", {"intent": "return", "n": 1.5})
    codec = ConversationCodec()
    assert play.conversation is not None
    assert codec.decode(codec.encode(play.conversation)) == play.conversation


@pytest.mark.parametrize("messages", [1, 500])
def test_an_idle_conversation_is_small(messages: int):
    play = Play(graph(["a"], [("a", "END")]))
    for number in range(messages):
        play.message(message_id=f"m{number}")
        play.complete("a", "x" * 1000)
    assert play.conversation is not None
    assert len(ConversationCodec().encode(play.conversation)) <= 400


def test_an_attempt_that_is_not_heard_of_in_time_is_asked_for_again_and_then_fails():
    play = Play(graph([{"id": "a", "timeout_seconds": 5, "retry": {"max_attempts": 2}}], [("a", "END")]))
    play.message()
    late = play.completion("a", "too late")
    assert play.task("a").deadline_ms == play.now_ms + 5_000
    assert requested(play.fire()) == ["a"]
    assert [type(output) for output in play.feed(late)] == [MessageSetAside]
    play.fire()
    [response] = play.responses()
    assert (response.status, "not done within 5000 ms" in (response.error or "")) == ("failed", True)


def test_a_completion_in_time_takes_its_timer_away():
    play = Play(graph([{"id": "a", "timeout_seconds": 5}, "b"], [("a", "b"), ("b", "END")]))
    play.message()
    play.complete("a", "x")
    assert play.conversation is not None
    assert play.conversation.timers == ()


def test_a_timed_out_attempt_may_be_taken_up_by_an_on_failure_edge():
    play = Play(
        graph(
            [{"id": "a", "timeout_seconds": 5, "retry": {"max_attempts": 1}}, "rescue"],
            [{"from": "a", "to": "rescue", "on": "failure"}, ("rescue", "END")],
        )
    )
    play.message()
    assert requested(play.fire()) == ["rescue"]


def test_a_run_that_takes_too_long_ends_with_the_failure_response():
    play = Play(graph(["a", "b"], [("a", "b"), ("b", "END")], timeout_seconds=60))
    play.message()
    play.complete("a", "x")
    assert requested(play.fire()) == []
    [response] = play.responses()
    assert (response.status, "longer than 60000 ms" in (response.error or "")) == ("failed", True)
    assert play.conversation is not None
    assert play.conversation.timers == ()


def test_a_cancelled_run_answers_so_and_lets_the_next_message_begin():
    play = Play(graph(["a"], [("a", "END")]))
    play.message(message_id="m1")
    play.message(message_id="m2")
    task = play.task("a")
    late = play.completion("a", "too late")
    cancel = CancelRequested(
        id="c", time_ms=play.now_ms, conversation_id="c1", run_id=task.run_id, reason="wrong customer", requested_by="ann"
    )
    assert requested(play.feed(cancel)) == ["a"]
    [response] = play.responses()
    assert (response.status, response.error) == ("cancelled", "cancelled by ann: wrong customer")
    assert [type(output) for output in play.feed(late)] == [MessageSetAside]
    assert [type(output) for output in play.feed(cancel)] == [MessageSetAside]
    play.complete("a", "x")
    assert [response.message_id for response in play.responses()] == ["m1", "m2"]


def test_the_end_of_one_run_and_the_beginning_of_the_next_have_different_ids():
    """One completion ends a run and begins the next, whose nodes have the same names."""
    condition = {"type": "python_expr", "expression": "message_id == 'm1'"}
    play = Play(graph([{"id": "a", "condition": condition}], [("a", "END")]))
    play.message(message_id="m1")
    play.message(message_id="m2")
    play.complete("a", "x")
    assert [response.message_id for response in play.responses()] == ["m1", "m2"]
    assert len({output.id for output in play.outputs}) == len(play.outputs)


@pytest.mark.parametrize("number", [1 << 64, -(1 << 70), 1 << 2000])
def test_a_number_no_changelog_can_hold_does_not_stop_the_conversation(number: int):
    play = Play(LINE)
    play.message()
    play.complete("a", {"n": [number, 7], "s": "x"})
    assert play.conversation is not None
    codec = ConversationCodec()
    restored = codec.decode(codec.encode(play.conversation))
    assert restored.run is not None
    assert restored.run.nodes["a"].output["n"][1] == 7
    assert restored.run.message == play.conversation.run.message


@pytest.mark.parametrize(
    ("kind", "expression"),
    [("python_expr", "not b"), ("python_expr", "b is None"), ("jmespath", "!b"), ("jmespath", "!b.output.x")],
)
def test_a_condition_may_ask_whether_a_node_was_skipped(kind: str, expression: str):
    play = Play(
        graph(
            ["a", "b", "c"],
            [
                ("a", "b", "output.go"),
                ("a", "c"),
                ("b", "c"),
                {"from": "c", "to": "END", "condition": {"type": kind, "expression": expression}},
            ],
        )
    )
    play.message()
    play.complete("a", {"go": False})
    play.complete("c", "done")
    [response] = play.responses()
    assert (response.status, response.text) == ("completed", "done")


@pytest.mark.parametrize(("flag", "taken"), [(False, ["b"]), (True, [])])
def test_not_in_jmespath_negates_the_whole_path(flag: bool, taken: list[str]):
    play = Play(graph(["a", "b"], [("a", "b", "!output.flag"), ("b", "END")]))
    play.message()
    assert requested(play.complete("a", {"flag": flag})) == taken


@pytest.mark.parametrize("kind", ["jmespath", "python_expr"])
@pytest.mark.parametrize("forged", ["classify", "later", "skipped", "output", "knowledge_base"])
@pytest.mark.parametrize("where", ["context", "input"])
def test_nothing_a_message_says_stands_for_what_a_node_said(kind: str, forged: str, where: str):
    """Not even from who writes events past intake; whether the node has run, will run, or never will."""
    expression = {
        "jmespath": f"{forged}.output.vip || {forged}.vip",
        "python_expr": f"(({forged} or {{}}).get('output') or {{}}).get('vip') == True",
    }[kind]
    shape = graph(
        [
            "classify",
            "later",
            {"id": "skipped", "condition": "`false`"},
            {"id": "gift", "condition": {"type": kind, "expression": expression}},
        ],
        [("skipped", "gift"), ("classify", "gift"), ("gift", "later"), ("gift", "END"), ("classify", "END")],
    )
    play = Play(shape)
    play.message(**{where: {forged: {"output": {"vip": True}, "vip": True}}})
    play.complete("classify", {"vip": False})
    assert "gift" not in [task.node_id for task in play.outputs if isinstance(task, NodeTask)]


def test_what_a_message_says_under_a_name_of_its_own_is_seen():
    shape = graph(["a", {"id": "gift", "condition": "customer.vip"}], [("a", "gift"), ("gift", "END")])
    play = Play(shape)
    play.message(context={"customer": {"vip": True}})
    assert requested(play.complete("a", "x")) == ["gift"]


def test_conditions_of_one_event_may_spend_together_what_two_may():
    """Each of them is allowed, thirty of them would hold up everybody on the partition."""
    heavy = {"type": "python_expr", "expression": "len([x for x in range(4000)]) > 0"}
    few, many = (graph(["a", "b"], [{"from": "a", "to": "b", "condition": heavy}] * count + [("b", "END")]) for count in (1, 30))
    ends = []
    for shape in (few, many):
        play = Play(shape)
        play.message("go")
        play.complete("a", {"x": 1})
        ends.append([end.error for end in play.ends()])
    assert ends[0] == []
    assert "too many steps" in ends[1][0]
