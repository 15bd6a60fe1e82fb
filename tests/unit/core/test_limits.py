"""What time limits count: work, and not the wait for somebody to do it."""

from __future__ import annotations

import pytest

from schemas.bounds import END_OF_TIME_MS
from schemas.events import NodeBegun, NodeTask, Outcome, TimerFired
from schemas.ids import derive
from streams.core import limits
from streams.core.bounds import RULES
from streams.core.state import Conversation, Timer, TimerKind
from streams.replay.verification import Verification
from tests.support.lying import check, events_of, outputs_of
from tests.support.play import Play, graph, requested

HOUR_MS = 3_600_000
RETRY = {"initial_delay_seconds": 1, "max_attempts": 2}
NODE = graph([{"id": "a", "timeout_seconds": 30, "retry": RETRY}], [("a", "END")])
RUN = graph(["a", "b"], [("a", "b"), ("b", "END")], timeout_seconds=60)


def timer(play: Play, kind: TimerKind) -> Timer:
    assert play.conversation is not None
    return next(timer for timer in play.conversation.timers if timer.kind is kind)


def begun(play: Play) -> Conversation:
    assert play.conversation is not None
    return play.conversation


def test_only_what_has_a_limit_is_announced():
    for shape, announced in ((NODE, True), (RUN, True), (graph(["a"], [("a", "END")]), False)):
        play = Play(shape)
        play.message(rules=RULES)
        assert play.task("a").announce is announced
        assert play.task("a").deadline_ms is None


def test_an_attempt_counts_from_when_a_worker_took_it_up():
    play = Play(NODE)
    play.message(rules=RULES)
    play.begin("a", waited_ms=HOUR_MS)
    assert timer(play, TimerKind.ATTEMPT).due_ms == play.now_ms + 30_000 + limits.HEARING_MS
    assert requested(play.fire()) == ["a"]
    assert (play.task("a").attempt, play.responses()) == (2, [])
    play.begin("a")
    play.fire()
    assert play.responses()[0].error == "a: attempt 2 was not done within 30000 ms"


def test_a_second_worker_that_takes_it_up_has_the_whole_time_again():
    play = Play(NODE)
    play.message(rules=RULES)
    play.begin("a")
    before = timer(play, TimerKind.ATTEMPT)
    play.begin("a", waited_ms=29_000)
    fired = TimerFired(id="late", time_ms=before.due_ms, conversation_id="c1", timer_id=before.timer_id, due_ms=before.due_ms)
    assert play.feed(fired) == [], "it was on its way when the time was moved"
    assert timer(play, TimerKind.ATTEMPT).due_ms > before.due_ms


@pytest.mark.parametrize("change", [{"attempt": 2}, {"run_id": "other"}, {"node_id": "z"}, {"epoch": 1}])
def test_who_takes_up_what_is_over_changes_nothing(change: dict[str, object]):
    play = Play(NODE)
    play.message(rules=RULES)
    before = play.conversation
    play.begin("a")
    event = play.history[-1]
    assert isinstance(event, NodeBegun)
    play.conversation = before
    assert play.feed(event.model_copy(update=change)) == []
    assert play.conversation == before


def test_a_runs_limit_does_not_count_while_all_of_its_nodes_wait_for_workers():
    play = Play(RUN)
    play.message(rules=RULES)
    assert play.fire() == [], "an hour in the topic of its workers, and nobody has begun"
    started = begun(play).run.started_ms  # type: ignore[union-attr]
    play.begin("a", waited_ms=HOUR_MS)
    play.complete("a", "x")
    play.begin("b", waited_ms=HOUR_MS)
    assert timer(play, TimerKind.RUN).due_ms > started + 2 * HOUR_MS
    play.complete("b", "done")
    assert [response.status for response in play.responses()] == ["completed"]


def test_a_runs_limit_counts_while_a_node_is_worked_on():
    play = Play(RUN)
    play.message(rules=RULES)
    play.begin("a", waited_ms=20)
    assert timer(play, TimerKind.RUN).due_ms == play.now_ms - 20 + 60_000 + 20
    play.fire()
    assert play.responses()[0].error == "a: the run took longer than 60000 ms"


def test_a_pause_between_attempts_counts():
    shape = graph(
        [{"id": "a", "retry": {"initial_delay_seconds": 1000, "max_delay_seconds": 1000}}], [("a", "END")], timeout_seconds=5
    )
    play = Play(shape)
    play.message(rules=RULES)
    play.begin("a")
    play.complete("a", outcome=Outcome.RETRYABLE, error="busy")
    play.fire()
    assert "longer than 5000 ms" in (play.responses()[0].error or "")


def test_there_is_an_end_to_waiting_for_workers():
    play = Play(RUN)
    play.message(rules=RULES)
    play.now_ms += limits.PATIENCE_MS
    play.fire()
    assert "longer than 60000 ms" in (play.responses()[0].error or "")
    play = Play(NODE)
    play.message(rules=RULES)
    play.now_ms += limits.PATIENCE_MS
    play.fire()
    play.fire()
    assert play.responses()[0].error == "a: no worker has taken up attempt 2 within 24 h"


def test_runs_of_before_count_from_when_they_were_asked_for():
    play = Play(NODE)
    play.message()
    task = play.task("a")
    assert isinstance(task, NodeTask)
    assert (task.announce, task.deadline_ms) == (False, play.now_ms + 30_000)
    play.fire()
    play.fire()
    assert play.responses()[0].error == "a: attempt 2 was not done within 30000 ms"


def test_when_a_timer_fires_is_said_by_whether_its_work_has_begun_and_how_late_it_was_read():
    play = Play(NODE)
    play.message(rules=RULES)
    waiting = timer(play, TimerKind.ATTEMPT)
    late = play.now_ms + HOUR_MS
    assert limits.set_ms(waiting, late, new=True) == late + 30_000
    assert limits.look_again_ms(begun(play), waiting, late) == late + limits.LOOK_MS
    assert limits.look_again_ms(begun(play), waiting, waiting.due_ms + limits.PATIENCE_MS) is None
    play.begin("a")
    at_work = timer(play, TimerKind.ATTEMPT)
    assert limits.set_ms(at_work, late, new=False) == at_work.due_ms
    assert limits.look_again_ms(begun(play), at_work, late) is None
    assert limits.restored_ms(at_work, late) == late + 30_000, "nobody looked: it begins once more"
    assert limits.restored_ms(at_work, play.now_ms) == at_work.due_ms
    back_off = Timer("t", 5, "a", TimerKind.RETRY)
    assert (limits.restored_ms(back_off, late), limits.look_again_ms(begun(play), back_off, late)) == (5, None)
    run = Play(RUN)
    run.message(rules=RULES)
    limit = timer(run, TimerKind.RUN)
    assert limits.set_ms(limit, late, new=True) == late + 60_000
    assert limits.look_again_ms(begun(run), limit, late) == late + 60_000
    run.begin("a")
    assert limits.look_again_ms(begun(run), limit, late) is None


def test_a_repeat_of_a_message_at_another_time_is_known_by_its_id():
    """Intake read the record once more after a crash, and its clock has gone on."""
    play = Play(RUN)
    play.message("hi", "m1", rules=RULES, produced_ms=5)
    state = play.conversation
    play.now_ms += HOUR_MS
    [aside] = play.message("hi", "m1", rules=RULES, produced_ms=5)
    assert (aside.reason, play.conversation) == ("repeated", state)  # type: ignore[attr-defined]
    assert derive("c1", "m1") == play.history[0].id
    play.now_ms += HOUR_MS
    [another] = play.message("hi", "m1", rules=RULES, produced_ms=5)
    assert another.id != aside.id, "what is written twice under one id is the same bytes"


def test_a_provider_is_waited_for_a_day_at_most():
    play = Play(NODE)
    play.message(rules=RULES)
    play.begin("a")
    play.complete("a", outcome=Outcome.RETRYABLE, error="busy", retry_after_ms=END_OF_TIME_MS)
    assert timer(play, TimerKind.RETRY).due_ms == play.now_ms + limits.PATIENCE_MS


def test_a_replay_decides_the_same_about_limits_that_were_moved_set_anew_and_run_out():
    play = Play(RUN)
    play.message(rules=RULES)
    play.fire()
    play.begin("a", waited_ms=HOUR_MS)
    play.begin("a", waited_ms=HOUR_MS)
    play.complete("a", "x")
    play.begin("b", waited_ms=5)
    play.fire()
    assert [response.status for response in play.responses()] == ["failed"]
    counts = check(Verification({RUN.digest: RUN}, complete=True), events_of(play), outputs_of(play))
    assert (counts.events, counts.outputs) == (7, len(outputs_of(play)))
