"""Today's code decides about the recorded histories of every workflow as it was decided then.

A difference here means that a run in flight would go on differently after an upgrade. If that is what you want, record them anew
with `make histories` and say so in the changelog.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.codec import decode
from schemas.events import NodeFinished, NodeStatus, RerunRequested, TimerFired, WorkflowPublished
from schemas.topics import CONVERSATION_EVENTS, WORKFLOW_DEFINITIONS, WORKFLOW_EVENTS
from streams.core import response
from streams.replay.difference import Differs
from streams.replay.files import verify_history
from streams.replay.history import History, read
from streams.runtime import Record
from tests.support.histories import FOLDER, workflows
from tests.support.older import as_written_under, former_schemas, is_written_under

FILES = sorted(FOLDER.glob("*.jsonl.gz"))
FORMER = [pytest.param(kind, schema, id=f"{kind}-{at}") for at, (kind, schema) in enumerate(former_schemas())]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_recorded_history_is_decided_as_it_was(file: Path):
    try:
        counts = verify_history(read(file))
    except Differs as found:
        pytest.fail(f"{file.name}: {found}", pytrace=False)
    assert counts.digests > 10, "nothing was compared"
    assert not counts.passed_over


def test_every_workflow_has_a_history():
    recorded = [decode(record.value, record.headers) for file in FILES for record in read(file).of(WORKFLOW_DEFINITIONS)]
    assert {event.name for event in recorded if isinstance(event, WorkflowPublished)} >= set(workflows())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_history_holds_more_than_the_plain_case(file: Path):
    """Repeats after a crash, messages that came twice, a rerun, attempts after a back-off, nodes that failed and were skipped."""
    history = read(file)
    events = [decode(record.value, record.headers) for record in history.of(CONVERSATION_EVENTS)]
    outputs = [decode(record.value, record.headers) for record in history.of(WORKFLOW_EVENTS)]
    assert len({event.id for event in events}) < len(events)
    assert any(isinstance(event, RerunRequested) for event in events)
    assert any(isinstance(event, TimerFired) for event in events)
    ends = {output.status for output in outputs if isinstance(output, NodeFinished)}
    assert ends == set(NodeStatus)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize(("kind", "schema"), FORMER)
def test_a_history_from_before_a_schema_grew_is_decided_the_same(file: Path, kind: str, schema: dict[str, Any]):
    history = read(file)
    older = History(tuple(as_written_under(schema, kind, record) for record in history.records))
    newer = [record for record in history.records if of_kind(kind, record) and not is_written_under(schema, record)]
    assert older.records != history.records or not newer
    assert verify_history(older).outputs == verify_history(history).outputs


def of_kind(kind: str, record: Record) -> bool:
    return bool(record.value) and kind == decode(record.value, record.headers).TYPE


def test_a_changed_reducer_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """Otherwise all of the above says nothing."""
    monkeypatch.setattr(response, "text_of", lambda output: "something else")
    with pytest.raises(Differs) as found:
        verify_history(read(FILES[0]))
    assert "text" in found.value.difference.fields
