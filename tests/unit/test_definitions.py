"""What is published is taken for what it is, and one thing nobody can use keeps nobody from the rest."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from schemas.codec import decode, encode
from schemas.events import WorkflowPublished
from schemas.workflow.definition import WorkflowDefinition
from streams.definitions import Definitions, UnknownWorkflow, Unusable, digest_of, published, semver_key

TYPES = {"helper": "simple"}
BODY: dict[str, Any] = {
    "name": "w",
    "version": "1.0.0",
    "workflow": {
        "nodes": [{"id": "a", "agent": "helper", "prompt_template": "x"}, {"id": "b", "agent": "helper", "prompt_template": "y"}],
        "edges": [{"from": "a", "to": "b"}],
    },
    "cost_controls": {"max_cost_per_conversation": 0.5, "alert_threshold": 1},
}


def event(**changes: Any) -> WorkflowPublished:
    body = {**BODY, **changes}
    digest = digest_of(body, TYPES)
    return WorkflowPublished(
        id=digest,
        time_ms=0,
        name=body["name"],
        version=body["version"],
        digest=digest,
        source="",
        definition=body,
        agent_types=TYPES,
    )


def graph(**changes: Any) -> dict[str, Any]:
    return {"workflow": {**BODY["workflow"], **changes}}


def test_what_was_published_is_read_as_it_was_meant():
    """Its digest is the same after the wire, whatever its author's numbers looked like."""
    made = published(WorkflowDefinition.model_validate(BODY), "", TYPES, at_ms=0)
    read = decode(*encode(made))
    assert isinstance(read, WorkflowPublished)
    known = Definitions()
    known.add(read, key=f"w@{made.digest}".encode())
    assert known.by_digest(made.digest) is not None
    assert digest_of(read.definition, read.agent_types) == made.digest


def edge(source: str, target: str) -> dict[str, Any]:
    return {"edges": [{"from": source, "to": target}]}


UNUSABLE = {
    "another digest": event().model_copy(update={"digest": "d" * 64}),
    "another name": event().model_copy(update={"name": "other"}),
    "another version": event().model_copy(update={"version": "1.0.1"}),
    "no mapping": event().model_copy(update={"definition": [1]}),
    "no such key": event(surprise=1),
    "an agent nobody has": event(**graph(nodes=[{"id": "a", "agent": "ghost"}], edges=[])),
    "an agent of no type": event().model_copy(
        update={"agent_types": {"helper": "oracle"}, "digest": digest_of(BODY, {"helper": "oracle"})}
    ),
    "an edge to nowhere": event(**graph(**edge("a", "c"))),
    "an edge from nowhere": event(**graph(**edge("c", "a"))),
    "a cycle": event(**graph(edges=[{"from": "a", "to": "b"}, {"from": "b", "to": "a"}])),
    "a node twice": event(**graph(nodes=[BODY["workflow"]["nodes"][0]] * 2, edges=[])),
    "a word for an id": event(**graph(nodes=[{"id": "output", "agent": "helper"}], edges=[])),
    "a condition that does not compile": event(
        **graph(edges=[{"from": "a", "to": "b", "condition": {"type": "jmespath", "expression": "a =="}}])
    ),
    "no version": event(version="1"),
    "what is no text": event().model_copy(update={"definition": {**BODY, "description": "\ud800"}}),
}


@pytest.mark.parametrize("said", UNUSABLE.values(), ids=UNUSABLE)
def test_what_could_not_run_is_refused_in_words_and_changes_nothing(said: WorkflowPublished):
    known = Definitions()
    known.add(event())
    with pytest.raises(Unusable):
        known.add(said)
    assert list(known.graphs) == [event().digest]
    assert known.resolve("w").published == event()


def test_a_definition_under_another_key_is_refused():
    """Compaction goes by keys: what stands under another's would replace it."""
    with pytest.raises(Unusable, match="key"):
        Definitions().add(event(), key=b"w@other")


RUBBISH = ["", "1", "1.0.0.0", "x", "9" * 5_000 + ".0.0", "1.0.0-\u00b2", "\u0661.x.0", "1.0.0-" + "9" * 5_000]


@pytest.mark.parametrize("version", RUBBISH, ids=range(len(RUBBISH)))
def test_what_is_no_version_comes_before_all_that_are_one(version: str):
    assert semver_key(version) < semver_key("0.0.0-0")
    assert sorted(["2.0.0", version, "10.0.0"], key=semver_key) == [version, "2.0.0", "10.0.0"]


async def test_of_records_that_wait_at_once_each_is_answered_by_a_look_begun_after_it():
    known, looks = Definitions(), []
    gate = asyncio.Event()

    async def look() -> None:
        looks.append(len(looks))
        await gate.wait()

    known.look = look
    early = [asyncio.create_task(known.arrival(f"a{n}")) for n in range(1000)]
    await asyncio.sleep(0)
    late = [asyncio.create_task(known.arrival(f"b{n}")) for n in range(1000)]
    await asyncio.sleep(0)
    assert looks == [0]
    gate.set()
    assert await asyncio.gather(*early, *late) == [None] * 2000
    assert looks == [0, 1], "a thousand that wait ask the broker once"


async def test_a_look_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch):
    known, tries = Definitions(), []

    async def look() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the broker is not there")
        known.add(event())

    known.look = look
    monkeypatch.setattr("streams.definitions.LOOK_AGAIN_S", 0.0)
    found = await known.arrival(event().digest)
    assert found is not None
    assert found.published == event()


async def test_nobody_waits_for_ever_for_a_definition_that_nobody_can_ask_for():
    assert await Definitions().arrival("unknown", patience_seconds=0.001) is None


def test_a_workflow_that_is_not_there_is_named_with_those_that_are():
    known = Definitions()
    known.add(event())
    with pytest.raises(UnknownWorkflow, match=r"published are 1\.0\.0"):
        known.resolve("w@1")
    assert json.loads(json.dumps([workflow.published.version for workflow in known.list()])) == ["1.0.0"]
