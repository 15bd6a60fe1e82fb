"""Intake: what may come in comes in once, under an id of its own, with its workflow pinned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.bounds import END_OF_TIME_MS
from schemas.events import MessageReceived
from schemas.workflow.definition import WorkflowDefinition
from streams.definitions import Definitions, UnknownWorkflow, published, semver_key
from streams.intake import Admission, Intake
from streams.runtime import Record, Undecodable
from tests.support.steps import FakeStep

NOW_MS = 1_795_000_000_000
DESK = Admission("desk")


def definitions(*versions: str, deprecated: tuple[str, ...] = ()) -> Definitions:
    known = Definitions()
    for version in versions:
        definition = WorkflowDefinition.model_validate(
            {"name": "desk", "version": version, "workflow": {"nodes": [{"id": "n", "agent": "a", "prompt_template": version}]}}
        )
        event = published(definition, "", {"a": "simple"}, at_ms=0)
        known.add(event.model_copy(update={"deprecated": version in deprecated}))
    return known


async def admitted(
    known: Definitions, offset: int = 7, *, admission: Admission = DESK, produced_ms: int = 5_000, **fields: Any
) -> MessageReceived:
    value = json.dumps({"text": "hi", "conversation_id": "c", **fields}).encode()
    step = FakeStep()
    intake = Intake(known, admission, clock_ms=lambda: NOW_MS)
    await intake.handle(Record("customer.messages", 2, offset, produced_ms, None, value, ()), step)
    [event] = step.events(MessageReceived)
    assert step.outs[0].key == event.conversation_id.encode()
    return event


async def test_a_message_is_pinned_to_the_newest_version_that_is_not_deprecated():
    known = definitions("1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0", deprecated=("2.0.0",))
    event = await admitted(known)
    assert (event.workflow, event.version, event.time_ms) == ("desk", "2.0.0-rc.1", NOW_MS)
    assert known.by_digest(event.digest) is not None


async def test_a_message_may_ask_for_a_version_and_not_for_a_deprecated_one():
    known = definitions("1.0.0", "1.1.0", "2.0.0", deprecated=("1.0.0",))
    assert (await admitted(known, workflow="desk@1.1.0")).version == "1.1.0"
    with pytest.raises(Undecodable, match=r"ask for desk@2\.0\.0") as refusal:
        await admitted(known, workflow="desk@1.0.0")
    assert refusal.value.code == "deprecated_workflow"


async def test_the_default_is_the_operators_word_even_when_it_is_deprecated():
    known = definitions("1.0.0", deprecated=("1.0.0",))
    assert (await admitted(known, admission=Admission("desk@1.0.0"))).version == "1.0.0"
    with pytest.raises(Undecodable, match="so is every version of desk"):
        await admitted(known, workflow="desk@1.0.0")


@pytest.mark.parametrize(("named", "asks"), [((), "desk@1.0.0"), (("other",), "desk@1.0.0")])
async def test_a_workflow_that_messages_may_not_ask_for_is_refused_with_those_they_may(named: tuple[str, ...], asks: str):
    with pytest.raises(Undecodable, match="HIL_MESSAGE_WORKFLOWS") as refusal:
        await admitted(definitions("1.0.0"), admission=Admission("desk", named), workflow=asks)
    assert refusal.value.code == "workflow_not_allowed"


async def test_the_default_and_what_is_on_the_list_may_be_asked_for():
    known = definitions("1.0.0")
    assert await admitted(known, admission=Admission("desk", ()), workflow="desk")
    assert await admitted(known, admission=Admission("some", ("desk",)), workflow="desk@1.0.0")


@pytest.mark.parametrize("produced_ms", [-1, 0, 5_000, NOW_MS - 600_000, NOW_MS + 3_000_000, 1 << 62])
async def test_a_records_own_time_is_kept_and_nothing_goes_by_it(produced_ms: int):
    event = await admitted(definitions("1.0.0"), produced_ms=produced_ms)
    assert (event.time_ms, event.ordinal_base) == (NOW_MS, NOW_MS)
    assert event.produced_ms == min(max(0, produced_ms), END_OF_TIME_MS)


@pytest.mark.parametrize("name", ["n", "input", "context", "output", "conversation_history", "knowledge_base", "END"])
async def test_a_name_of_a_node_or_of_a_word_is_no_name_for_the_context(name: str):
    with pytest.raises(Undecodable, match=f"`{name}`") as refusal:
        await admitted(definitions("1.0.0"), context={"vip": True, name: {"output": {"intent": "refund"}}})
    assert refusal.value.code == "reserved_name"


async def test_what_grows_when_it_is_written_out_is_measured_then():
    """A message of 945 kB on the wire whose numbers make it 1.02 MB when they are written again."""
    numbers = ",".join(["1e15"] * 19_000)
    context = f'{{"words": "{"x" * 850_000}", "numbers": [{numbers}]}}'
    value = f'{{"text": "hi", "conversation_id": "c", "context": {context}}}'.encode()
    intake = Intake(definitions("1.0.0"), Admission("desk"), clock_ms=lambda: NOW_MS)
    with pytest.raises(Undecodable, match="1,000,000 are accepted") as refusal:
        await intake.handle(Record("customer.messages", 0, 1, 0, None, value, ()), FakeStep())
    assert refusal.value.code == "too_large"


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
