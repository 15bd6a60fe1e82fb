"""A state that cannot be read never counts as none: what was done is not done again, and a conversation does not begin anew."""

from __future__ import annotations

from typing import Any

import pytest

from agents.ports import AgentResult
from schemas.events import NodeCompleted, Outcome
from streams.conversations import Conversations
from streams.core.state import ConversationCodec
from streams.journal import Execution, ExecutionCodec
from streams.nodes import Nodes
from streams.runtime import Undecodable
from streams.runtime.store import SHOWN, StateStore
from tests.support.garbage import kinds
from tests.support.steps import FakeStep, record_of
from tests.unit.processors import test_conversations, test_nodes

EMPTY = ExecutionCodec().encode(Execution())
UNREADABLE = sorted({piece.value for piece in kinds() if piece.value not in (None, EMPTY)})


class StoredStep(FakeStep):
    """A step whose states come from a changelog."""

    def __init__(self, codec: Any, key: str, data: bytes) -> None:
        super().__init__()
        self.store: StateStore[Any] = StateStore(codec)
        self.store.load(key.encode(), data)

    def get(self, key: str) -> Any:
        return self.states[key] if key in self.states else self.store.get(key)


@pytest.mark.parametrize("data", UNREADABLE)
async def test_an_execution_whose_journal_cannot_be_read_is_parked_and_nothing_acts(data: bytes):
    async def never(work: Any, model: Any, tools: Any) -> AgentResult:
        raise AssertionError("the agent was asked")

    known = test_nodes.definitions()
    workshop = test_nodes.Workshop(never)
    nodes = Nodes(known, workshop, clock_ms=lambda: 2_000)
    task = test_nodes.task(known)
    step = StoredStep(ExecutionCodec(), task.execution_id, data)
    await nodes.handle(record_of(task), step)
    [completion] = step.events(NodeCompleted)
    assert completion.outcome is Outcome.PARK
    assert "cannot be read" in completion.error
    assert completion.output["execution_id"] == task.execution_id
    again = FakeStep(step.states)
    await nodes.handle(record_of(task), again)
    assert again.events(NodeCompleted) == [completion], "the task that comes again has the same answer"


async def test_an_execution_that_ended_in_what_cannot_be_read_is_parked():
    """The journal is a journal, and the completion in it is none."""
    known = test_nodes.definitions()
    nodes = Nodes(known, test_nodes.Workshop(lambda *_: None), clock_ms=lambda: 2_000)
    task = test_nodes.task(known)
    ended = Execution(finished_attempt=1, finished_ms=5, completion=(b"garbage", ()))
    later = task.model_copy(update={"attempt": 2})
    step = StoredStep(ExecutionCodec(), task.execution_id, ExecutionCodec().encode(ended))
    await nodes.handle(record_of(later), step)
    [completion] = step.events(NodeCompleted)
    assert (completion.outcome, completion.attempt) == (Outcome.PARK, 2)


@pytest.mark.parametrize("data", UNREADABLE)
async def test_a_conversation_whose_state_cannot_be_read_does_not_begin_anew(data: bytes):
    known = test_conversations.definitions()
    step = StoredStep(ConversationCodec(), "c", data)
    with pytest.raises(Undecodable, match="hil replay restore") as refused:
        await Conversations(known, clock_ms=lambda: 30).handle(record_of(test_conversations.message(known)), step)
    assert refused.value.code == "state_unreadable"
    assert step.outs == []


def test_a_deletion_of_what_cannot_be_read_is_a_deletion():
    store: StateStore[Any] = StateStore(ConversationCodec())
    store.load(b"c", b"garbage")
    store.load(b"c", None)
    assert store.get("c") is None


def test_what_cannot_be_read_is_passed_over_among_the_others(caplog: pytest.LogCaptureFixture):
    codec = ConversationCodec()
    store: StateStore[Any] = StateStore(codec)
    store.load(b"good", codec.encode(codec.decode(b"\x96\x00\x07\xc4\x00\x90\xc0\x90")))
    for at, piece in enumerate(UNREADABLE):
        store.load(b"bad-%d" % at, piece)
    assert [(key, state.ordinal) for key, state in store.items()] == [("good", 7)]
    assert caplog.text.count("passed over") == SHOWN
    assert f"{len(UNREADABLE) - SHOWN} more" in caplog.text
