"""From a task to the work of an agent."""

from __future__ import annotations

from typing import Any

import pytest

from agents.errors import Fatal
from agents.ports import HistoryMessage, Passage
from agents.prompts import prepare, profile_of
from schemas.events import NodeTask
from schemas.workflow.definition import WorkflowDefinition
from tests.unit.agents.doubles import Recall

CLASSIFY = {
    "id": "classify",
    "agent": "simple_intent_classifier",
    "prompt_template": "{{text}}",
    "config": {"output_schema": {"type": "object", "properties": {"intent": {}, "entities": {}}}},
}


def definition(node: dict[str, Any], **more: Any) -> WorkflowDefinition:
    edges = [{"from": "classify", "to": node["id"]}]
    return WorkflowDefinition.model_validate(
        {"name": "w", "version": "1.0.0", "workflow": {"nodes": [CLASSIFY, node], "edges": edges}, **more}
    )


def task(**changes: Any) -> NodeTask:
    given: dict[str, Any] = {
        "id": "t",
        "time_ms": 5,
        "conversation_id": "c",
        "run_id": "r",
        "node_id": "answer",
        "execution_id": "e",
        "attempt": 1,
        "epoch": 0,
        "agent": "a",
        "workflow": "w@1.0.0",
        "digest": "d",
        "ordinal": 3,
        "input": {"text": "where is 7?"},
        "context": {},
        "outputs": {"classify": {"intent": "order_status", "entities": {"order_id": "7"}}},
    }
    return NodeTask.model_validate(given | changes)


async def prepared(node: dict[str, Any], recall: Recall | None = None, *, of: NodeTask | None = None, **more: Any):
    made = definition({"id": "answer", "agent": "a", **node}, **more)
    return await prepare(of or task(), made.workflow.nodes[1], made, recall or Recall())


async def test_the_template_sees_the_input_and_the_outputs_of_predecessors():
    work = await prepared(
        {"task": "{{text}} / {{entities.order_id}} / {{classify.output.intent}}", "system_prompt": "For {{intent}}."}
    )
    assert (work.instruction, work.system_prompt) == ("where is 7? / 7 / order_status", "For order_status.")
    assert (work.customer_text, work.profile, work.now_ms, work.max_retries) == ("where is 7?", "balanced", 5, 3)


async def test_memory_is_asked_only_when_the_node_asks_for_it():
    recall = Recall()
    await prepared({"task": "{{text}}"}, recall)
    assert recall.asked == []


async def test_history_and_knowledge_that_the_template_prints_are_fetched_and_not_added_again():
    recall = Recall([HistoryMessage("customer", "hello")], [Passage("Shipping", "Two days.", 0.9)])
    node = {
        "prompt_template": "{{conversation_history}}|{{knowledge_base}}",
        "config": {"context_sources": ["conversation_history"]},
    }
    work = await prepared(node, recall)
    assert work.instruction == "customer: hello|Shipping: Two days."
    assert recall.asked == [("history", ("c", 3, 50)), ("knowledge", ("where is 7?", 5))]


async def test_context_sources_that_the_template_does_not_print_become_marked_sections():
    recall = Recall([HistoryMessage("customer", "bye </conversation_history>")], [])
    node = {"task": "Answer.", "config": {"context_sources": ["conversation_history", "knowledge_base"]}}
    work = await prepared(node, recall)
    assert "<conversation_history>\ncustomer: bye &lt;/conversation_history>\n</conversation_history>" in work.instruction
    assert "<knowledge_base>\n(nothing)\n</knowledge_base>" in work.instruction


async def test_an_empty_message_searches_nothing():
    recall = Recall()
    await prepared({"task": "Answer.", "config": {"context_sources": ["knowledge_base"]}}, recall, of=task(input={"text": " "}))
    assert recall.asked == []


async def test_an_unknown_name_is_fatal_and_names_node_line_and_name():
    with pytest.raises(Fatal, match=r"(?s)answer.*line 2.*nmae"):
        await prepared({"task": "Hi\n{{nmae}}"})


async def test_a_template_that_does_not_compile_is_fatal():
    with pytest.raises(Fatal, match="answer"):
        await prepared({"task": "{% if %}"})


async def test_a_field_a_predecessor_promised_and_did_not_give_is_empty_not_unknown():
    work = await prepared({"task": "[{% if entities %}x{% endif %}]"}, of=task(outputs={"classify": {"intent": "complaint"}}))
    assert work.instruction == "[]"


@pytest.mark.parametrize(
    ("label", "profiles", "meant"),
    [
        (None, {}, "balanced"),
        ("fast", {}, "fast"),
        ("cheap", {"cheap": "fast"}, "fast"),
        ("smart", {"smart": {"profile": "powerful"}}, "powerful"),
        ("smart", {"smart": {"primary": ["x"]}}, "smart"),
        ("smart", {"smart": {"profile": "powerful", "max_cost_usd": 1}}, "smart"),
        ("fast", {"fast": {"primary": ["x"]}}, "fast"),
        ("unheard", {}, "unheard"),
    ],
)
def test_a_label_stands_for_the_profile_the_definition_gives_it(label, profiles, meant):
    assert profile_of(label, profiles) == meant
