"""Whose a conversation is, and who may go on with it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import MessageReceived, RerunRequested
from schemas.ids import derive
from streams.core.bounds import RULES
from streams.core.reducer import Decision, decide
from streams.core.state import NOBODY, Conversation
from streams.replay.verification import Verification
from tests.support.lying import check, events_of, outputs_of
from tests.support.play import Play, graph

LINE = graph(["a"], [("a", "END")])
SHARED = graph(["a"], [("a", "END")], digest="shared", conversations="shared")
GRAPHS = {LINE.digest: LINE, SHARED.digest: SHARED}


def says(
    conversation: Conversation | None, customer_id: str | None, message_id: str, *, digest: str = LINE.digest, rules: int = RULES
) -> Decision:
    event = MessageReceived(
        id=derive("c1", message_id),
        time_ms=1_000,
        conversation_id="c1",
        message_id=message_id,
        text="hi",
        workflow="play",
        version="1.0.0",
        digest=digest,
        customer_id=customer_id,
        rules=rules,
    )
    return decide(conversation, event, GRAPHS)


@pytest.mark.parametrize(("other", "word"), [("eve", "names another"), (None, "names none")])
def test_another_customer_or_nobody_at_all_may_not_go_on_with_a_customers_conversation(other: str | None, word: str):
    begun = says(None, "ann", "1").conversation
    refused = says(begun, other, "2")
    assert refused.refusal is not None
    assert (refused.refusal.code, word in refused.refusal.reason) == ("other_customer", True)
    assert (refused.conversation, refused.outputs) == (begun, [])
    assert "ann" not in refused.refusal.reason, "whose it is, is not for the sender to learn"
    assert says(begun, "ann", "3").refusal is None


def test_a_conversation_that_began_without_a_name_is_the_first_customers_who_is_named():
    """Somebody logs in while they chat."""
    begun = says(None, None, "1").conversation
    assert begun is not None
    assert begun.owner is None
    hers = says(begun, "ann", "2").conversation
    assert hers is not None
    assert hers.owner == "ann"
    assert says(hers, "eve", "3").refusal is not None


def test_a_shared_workflow_lets_anybody_go_on_with_what_began_with_it_and_with_nothing_else():
    shared = says(None, "ann", "1", digest=SHARED.digest).conversation
    assert shared is not None
    assert shared.owner == NOBODY
    assert says(shared, "eve", "2").refusal is None
    own = says(None, "ann", "1").conversation
    assert says(own, "eve", "2", digest=SHARED.digest).refusal is not None, "or naming the workflow would do"


def test_a_message_of_before_there_were_owners_is_decided_as_it_was():
    begun = says(None, "ann", "1", rules=0).conversation
    assert says(begun, "eve", "2", rules=0).refusal is None
    assert says(says(None, "ann", "1").conversation, "eve", "2", rules=0).refusal is None


def test_a_run_is_not_run_again_in_another_customers_conversation():
    """The old conversation was forgotten, and the id is somebody else's now."""
    fields: dict[str, Any] = {"rerun_of": "r", "from_node": "a", "message_id": "m", "ordinal": 1, "text": "hi"}
    asked = RerunRequested(
        id=derive("again"),
        time_ms=5,
        conversation_id="c1",
        workflow="play",
        version="1",
        digest=LINE.digest,
        customer_id="eve",
        rules=RULES,
        **fields,
    )
    refused = decide(says(None, "ann", "1").conversation, asked, GRAPHS)
    assert refused.refusal is not None


def test_a_replay_passes_over_what_was_refused_even_when_its_dead_letter_is_gone():
    play = Play(LINE)
    play.message("mine", "m1", customer_id="ann", rules=RULES)
    play.message("what did she say?", "m2", customer_id="eve", rules=RULES)
    play.complete("a", "done")
    counts = check(Verification(GRAPHS, complete=True), events_of(play), outputs_of(play))
    assert (counts.events, len(play.responses())) == (3, 1)
