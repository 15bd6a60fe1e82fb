"""What is asked for before anything is sent: targets of copies, places to begin again, letters, and the spelling of commands."""

from __future__ import annotations

import pytest
import typer

from connectors.cli.replay import build
from schemas.events import DeadLetter, NodeFinished, NodeStatus, Outcome
from schemas.topics import TOPICS
from streams.origin import DEAD_LETTER_ID, again, first_place
from streams.replay.letters import Filter, Letter
from streams.replay.republish import check_target
from streams.replay.rerun import OldRun, make, new_run
from streams.runtime import RuntimeFailed
from tests.support.play import Play, graph, requested

CHAIN = graph(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "END")])


class TestTarget:
    def test_a_topic_is_not_copied_into_itself(self):
        with pytest.raises(RuntimeFailed, match="itself"):
            check_target("other", "other", confirmed="other")

    @pytest.mark.parametrize("target", sorted(TOPICS.keys() - {"customer.messages"}))
    def test_no_topic_of_ours_takes_a_copy(self, target: str):
        with pytest.raises(RuntimeFailed, match="own"):
            check_target("archive", target, confirmed=target)

    def test_customer_messages_takes_one_when_it_is_named_twice(self):
        with pytest.raises(RuntimeFailed, match="add --confirm"):
            check_target("archive", "customer.messages", confirmed=None)
        check_target("archive", "customer.messages", confirmed="customer.messages")

    def test_any_other_topic_takes_one(self):
        check_target("customer.messages", "elsewhere", confirmed=None)


def old_run(play: Play) -> OldRun:
    old = OldRun()
    for output in play.outputs:
        old.take(output)
    return old


class TestRerun:
    def played(self, *, fail: bool = False) -> Play:
        play = Play(CHAIN)
        play.message()
        play.complete("a", "A")
        if fail:
            play.complete("b", outcome=Outcome.FATAL, error="no")
        else:
            play.complete("b", "B")
            play.complete("c", "C")
        return play

    def test_the_request_leads_the_reducer_to_the_node(self):
        play = self.played()
        run_id = play.ends()[0].run_id
        request = make(old_run(play), CHAIN, run_id, "c", by="ann", at_ms=play.now_ms + 5)
        assert [node.node_id for node in request.nodes] == ["a", "b"]
        assert requested(play.feed(request)) == ["c"]
        assert play.task("c").run_id == new_run(request)

    def test_a_node_that_failed_may_be_begun_with(self):
        play = self.played(fail=True)
        request = make(old_run(play), CHAIN, play.ends()[0].run_id, "b", by="", at_ms=9)
        assert requested(play.feed(request)) == ["b"]

    def test_two_requests_are_two_runs(self):
        play = self.played()
        run_id = play.ends()[0].run_id
        first, second = (make(old_run(play), CHAIN, run_id, "c", by="", at_ms=at) for at in (1, 2))
        assert new_run(first) != new_run(second)

    def test_a_node_that_did_not_run_is_no_beginning(self):
        play = self.played(fail=True)
        with pytest.raises(RuntimeFailed, match="begin at a or b"):
            make(old_run(play), CHAIN, play.ends()[0].run_id, "c", by="", at_ms=9)

    def test_a_run_that_goes_on_is_not_run_again(self):
        play = Play(CHAIN)
        play.message()
        with pytest.raises(RuntimeFailed, match="not ended"):
            make(old_run(play), CHAIN, "r", "a", by="", at_ms=9)

    def test_an_unknown_run_and_a_cut_one_are_told_apart(self):
        with pytest.raises(RuntimeFailed, match="there is no run"):
            make(OldRun(), CHAIN, "r", "a", by="", at_ms=9)
        cut = OldRun()
        cut.take(
            NodeFinished(
                id="i", time_ms=1, conversation_id="c", cause_id="x", run_id="r", node_id="a", status=NodeStatus.EXECUTED
            )
        )
        with pytest.raises(RuntimeFailed, match="retention"):
            make(cut, CHAIN, "r", "a", by="", at_ms=9)


class TestFilter:
    LETTER = Letter(
        DeadLetter(
            id="abc-1",
            time_ms=1,
            conversation_id="c1",
            processor="hil.intake",
            topic="customer.messages",
            partition=0,
            offset=7,
            code="invalid_json",
            reason="no",
            headers={DEAD_LETTER_ID: "older"},
        ),
        partition=0,
        offset=3,
        buried_ms=1_000,
    )

    @pytest.mark.parametrize(
        ("wanted", "kept"),
        [
            (Filter(), True),
            (Filter(ids=("abc",)), True),
            (Filter(ids=("bc",)), False),
            (Filter(codes=("invalid_json", "x")), True),
            (Filter(codes=("x",)), False),
            (Filter(topics=("node.tasks.code",)), False),
            (Filter(processors=("hil.intake",), conversation="c1"), True),
            (Filter(conversation="c2"), False),
            (Filter(since_ms=1_000, until_ms=1_001), True),
            (Filter(until_ms=1_000), False),
            (Filter(codes=("invalid_json",), topics=("other",)), False),
        ],
    )
    def test_everything_that_is_given_must_hold(self, wanted: Filter, kept: bool):
        assert wanted.keeps(self.LETTER) is kept

    def test_a_retry_of_a_retry_is_known(self):
        assert self.LETTER.retry_of == "older"


class TestOrigin:
    def test_a_second_copy_names_the_first_place_and_a_third_too(self):
        second = again([("h", b"v")], ("t", 1, 2), 3, DEAD_LETTER_ID, "l-1")
        third = again(second, ("t", 1, 9), 8, DEAD_LETTER_ID, "l-2")
        assert first_place(third, ("t", 1, 11)) == ("t", 1, 2)
        assert [value for name, value in third if name == DEAD_LETTER_ID] == [b"l-2"]

    def test_nonsense_in_the_headers_is_ignored(self):
        headers = [("x-original-topic", b"\xff"), ("x-original-partition", b"1"), ("x-original-offset", b"x")]
        assert first_place(headers, ("t", 0, 5)) == ("t", 0, 5)


class TestSpelling:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            (["customer.messages", "--limit", "1"], ["view", "customer.messages", "--limit", "1"]),
            (["--from", "2h", "customer.messages"], ["view", "--from", "2h", "customer.messages"]),
            (["--verify"], ["verify"]),
            (["--verify", "a.gz"], ["verify", "a.gz"]),
            (["--json", "--verify"], ["verify", "--json"]),
            (["verify"], ["verify"]),
            (["view", "verify"], ["view", "verify"]),
            (["--help"], ["--help"]),
            ([], []),
        ],
    )
    def test_a_topic_alone_is_viewed_and_a_command_may_be_an_option(self, typed: list[str], meant: list[str]):
        group = typer.main.get_group(build(None))  # type: ignore[arg-type]
        assert group.completed(typed) == meant  # type: ignore[attr-defined]
