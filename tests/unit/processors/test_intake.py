"""Intake: what may come in comes in once, under an id of its own, with its workflow pinned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.events import MessageReceived
from schemas.workflow.definition import WorkflowDefinition
from streams.definitions import Definitions, UnknownWorkflow, published, semver_key
from streams.intake import Intake
from streams.runtime import Record, Undecodable
from tests.support.steps import FakeStep


def definitions(*versions: str, deprecated: tuple[str, ...] = ()) -> Definitions:
    known = Definitions()
    for version in versions:
        definition = WorkflowDefinition.model_validate(
            {"name": "desk", "version": version, "workflow": {"nodes": [{"id": "n", "agent": "a", "prompt_template": version}]}}
        )
        event = published(definition, "", {"a": "simple"}, at_ms=0)
        known.add(event.model_copy(update={"deprecated": version in deprecated}))
    return known


async def admitted(known: Definitions, offset: int = 7, **fields: Any) -> MessageReceived:
    value = json.dumps({"text": "hi", "conversation_id": "c", **fields}).encode()
    step = FakeStep()
    await Intake(known, default_workflow="desk").handle(Record("customer.messages", 2, offset, 5_000, None, value, ()), step)
    [event] = step.events(MessageReceived)
    assert step.outs[0].key == event.conversation_id.encode()
    return event


async def test_a_message_is_pinned_to_the_newest_version_that_is_not_deprecated():
    known = definitions("1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0", deprecated=("2.0.0",))
    event = await admitted(known)
    assert (event.workflow, event.version, event.time_ms) == ("desk", "2.0.0-rc.1", 5_000)
    assert known.by_digest(event.digest) is not None


async def test_a_message_may_ask_for_a_version_even_a_deprecated_one():
    event = await admitted(definitions("1.0.0", "2.0.0", deprecated=("1.0.0",)), workflow="desk@1.0.0")
    assert event.version == "1.0.0"


async def test_the_same_message_id_gives_the_same_event_wherever_it_lies():
    known = definitions("1.0.0")
    assert (await admitted(known, 7, message_id="m")).id == (await admitted(known, 8, message_id="m")).id
    assert (await admitted(known, 7)).id != (await admitted(known, 8)).id
    assert (await admitted(known, 7, message_id="m")).id != (await admitted(known, 7, message_id="m", conversation_id="d")).id


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("dest", "did you mean desk"),
        ("desk@9.0.0", "published are 1.0.0"),
        ("", "min_length"),
        ("zzz", "published are: desk"),
    ],
)
async def test_an_unknown_workflow_is_refused_with_what_there_is(spec: str, words: str):
    with pytest.raises(Undecodable) as refusal:
        await admitted(definitions("1.0.0"), workflow=spec)
    if spec:
        assert refusal.value.code == "unknown_workflow"
        assert words in refusal.value.reason


def test_without_any_workflow_it_says_how_to_publish_one():
    with pytest.raises(UnknownWorkflow, match="hil workflows publish"):
        Definitions().resolve("desk")


def test_versions_are_ordered_as_semver_says():
    """The example of section 11."""
    order = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
    ]
    assert sorted({*order}, key=semver_key) == order
