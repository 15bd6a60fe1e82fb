"""A conversation that begins again after it was forgotten, in Postgres: its rows stand beside the old ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from connectors.embeddings import WordLlamaEmbedder
from connectors.postgres.knowledge import KnowledgeStore
from connectors.postgres.memory import PostgresMemory
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from schemas import topics
from schemas.base import Event
from schemas.events import MessageReceived, NodeTask
from schemas.events.workflow import Decided
from schemas.workflow.definition import WorkflowDefinition
from streams.definitions import published
from streams.intake import admit, decode_inbound
from streams.runtime import Record
from tests.integration.projector_log import records, started
from tests.support.play import Play, graph
from tests.unit.core.test_expiry import expiry

pytestmark = pytest.mark.postgres
ONE = graph(["a"], [("a", "END")])


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    yield pool
    await pool.close()


def admitted(text: str, message_id: str, at_ms: int) -> MessageReceived:
    """As intake admits it."""
    body = f'{{"text": "{text}", "conversation_id": "c1", "message_id": "{message_id}"}}'.encode()
    record = Record(topics.CUSTOMER_MESSAGES, 0, 0, at_ms, b"k", body, ())
    definition: Mapping[str, Any] = {"name": "play", "version": "1.0.0", "workflow": {"nodes": [], "edges": []}}
    definition = {**definition, "workflow": {"nodes": [{"id": "a", "agent": "writer", "prompt_template": "go"}]}}
    play = published(WorkflowDefinition.model_validate(definition), "", {"writer": "simple"}, at_ms=0)
    event = admit(record, decode_inbound(record.value, record.headers), _Workflow(play), at_ms=record.timestamp_ms)
    return event.model_copy(update={"digest": ONE.digest})


class _Workflow:
    def __init__(self, published: Any) -> None:
        self.published = published


async def test_messages_of_a_second_life_are_kept_and_its_history_holds_none_of_the_first(pool: Pool) -> None:
    play = Play(ONE, now_ms=1_795_449_600_000)
    tasks: list[NodeTask] = []
    for life in ("first", "second"):
        for number in range(2):
            play.now_ms += 1_000
            play.feed(admitted(f"{life} question {number}", f"m{number}", play.now_ms))
            tasks.append(play.task("a"))
            play.complete("a", f"{life} answer {number}")
        play.now_ms += 30 * 86_400_000
        play.feed(expiry(play))
    said: list[Event] = [event for event in play.outputs if isinstance(event, Decided)]
    log = records(topics.WORKFLOW_EVENTS, said)
    await (await started(pool, log)).handle(log)
    rows = await pool.fetch("SELECT text FROM messages WHERE conversation_id = 'c1' ORDER BY ordinal")
    assert [row["text"] for row in rows] == [
        f"{life} {what} {number}" for life in ("first", "second") for number in range(2) for what in ("question", "answer")
    ]
    memory = PostgresMemory(pool, KnowledgeStore(pool, WordLlamaEmbedder()), patience_seconds=0)
    before = ([], ["first question 0", "first answer 0"], [], ["second question 0", "second answer 0"])
    for task, expected in zip(tasks, before, strict=True):
        assert task.earlier is not None
        history = await memory.history("c1", before=task.ordinal, limit=min(50, task.earlier))
        assert [message.text for message in history] == expected
