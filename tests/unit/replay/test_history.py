"""Recorded histories as files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from schemas.events import WorkflowPublished
from schemas.topics import WORKFLOW_DEFINITIONS
from streams.definitions import digest_of
from streams.replay.difference import Differs
from streams.replay.files import graphs_of, verify_history
from streams.replay.history import History, NoHistory, read, write
from streams.runtime import Record
from tests.support.lying import events_of, lying, outputs_of
from tests.support.play import Play, graph

DEFINITION = {
    "name": "play",
    "version": "1.0.0",
    "workflow": {"nodes": [{"id": "a", "agent": "writer", "prompt_template": "go"}], "edges": [{"from": "a", "to": "END"}]},
}
PUBLISHED = WorkflowPublished(
    id="p",
    time_ms=0,
    name="play",
    version="1.0.0",
    digest=digest_of(DEFINITION, {"writer": "simple"}),
    source="",
    definition=DEFINITION,
    agent_types={"writer": "simple"},
)


def history() -> History:
    play = Play(graph(["a"], [("a", "END")], digest=PUBLISHED.digest))
    play.message()
    play.complete("a", "A")
    odd = Record("dead-letters", 0, 0, 5, None, None, (("h", b"\xff"),))
    return History((*lying(WORKFLOW_DEFINITIONS, [PUBLISHED]), odd, *events_of(play), *outputs_of(play)), {"workflow": "play"})


def test_what_is_written_is_read_again_byte_for_byte(tmp_path: Path):
    write(tmp_path / "a.gz", history())
    assert read(tmp_path / "a.gz") == history()
    write(tmp_path / "b.gz", history())
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_history_is_verified_without_a_broker():
    assert verify_history(history()).digests == 1


def test_a_history_without_its_definition_differs():
    whole = history()
    with pytest.raises(Differs, match="definition play@1"):
        verify_history(History(whole.records[1:]))


def test_a_definition_that_does_not_compile_today_is_named():
    broken = PUBLISHED.model_copy(update={"definition": {"name": "play"}})
    graphs, faults = graphs_of(lying(WORKFLOW_DEFINITIONS, [PUBLISHED, broken]))
    assert list(graphs) == [PUBLISHED.digest]
    assert "workflow.definitions-0@1" in faults[0]


@pytest.mark.parametrize(
    "content",
    [b"text", gzip.compress(b"no json"), gzip.compress(b'{"format": "hil-history", "version": 99}\n'), gzip.compress(b"{}\n{}")],
    ids=["text", "no json", "newer", "empty"],
)
def test_a_file_that_is_none_says_so(tmp_path: Path, content: bytes):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(NoHistory, match="hil replay record"):
        read(tmp_path / "x")


def test_a_damaged_line_is_named(tmp_path: Path):
    (tmp_path / "x").write_bytes(gzip.compress(b'{"format": "hil-history", "version": 1}\n{"topic": "t"}\n'))
    with pytest.raises(NoHistory, match="line 2"):
        read(tmp_path / "x")
