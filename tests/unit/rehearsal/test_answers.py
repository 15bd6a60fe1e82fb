"""Prose: passes on what earlier steps found, answers from knowledge, says that it is a stand-in."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.rehearsal.model import RehearsalModel
from tests.unit.rehearsal.asking import ask

PAGES = """Answer the customer. What our help pages say:
Shop › Opening hours: The shop is open Monday to Friday from 10:00 to 19:00: come in.

On Saturday it is open until 16:00.
Payment › Means of payment: We accept Visa and PayPal.
Returns › Policy: Goods can be returned within 30 days.

<message>
{}
</message>

Use only what the help pages say. Keep it short."""


@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("when do you close on saturdays?", "until 16:00"),
        ("can I pay with paypal?", "Visa and PayPal"),
        ("Öffnungszeiten?", "10:00"),
    ],
)
def test_it_answers_from_the_nearest_passage(model: RehearsalModel, question: str, fact: str) -> None:
    text = ask(model, PAGES.format(question)).text
    assert fact in text
    assert "Keep it short" not in text


@pytest.mark.parametrize(
    "handed",
    [
        "Order #1002 is on its way, tracking TRK1. (rehearsal model)",
        "{'response': 'Order #1002 is on its way, tracking TRK1.', 'summary': 'looked up'}",
        '{"response": "Order #1002 is on its way, tracking TRK1."}',
    ],
)
def test_an_assembling_step_passes_the_facts_on(model: RehearsalModel, handed: str) -> None:
    found = f"What our desk found and did:\n{handed}"
    prompt = f"Write the reply.\n\n<message>\nwhere is it\n</message>\n\n{found}\n\nGive the reply only."
    assert ask(model, prompt).text == "Order #1002 is on its way, tracking TRK1. (rehearsal model)"


@pytest.mark.parametrize("said", ["", "hi", "ß" * 50, "?" * 300, "<message>", "{'a':", "def f():\n```python"])
def test_any_text_gets_an_answer_that_says_what_made_it(model: RehearsalModel, said: str) -> None:
    text = ask(model, f"Answer.\n<message>\n{said}\n</message>").text
    assert text.endswith("(rehearsal model)")
    assert len(text) > len("(rehearsal model)")


def test_an_answer_stops_at_max_tokens(model: RehearsalModel) -> None:
    reply = ask(model, "hello", max_tokens=3)
    assert reply.finish_reason == "length"
    assert 0 < len(model.vectors.ids(reply.text)) <= 3


@given(instruction=st.text(max_size=200), said=st.text(max_size=200))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_too_strange(model: RehearsalModel, instruction: str, said: str) -> None:
    """Prose, JSON and tool calls come out of any prompt; a repeat gives the same."""
    prompt = f"{instruction}\n<message>\n{said}\n</message>"
    schema = {
        "type": "object",
        "properties": {"intent": {"enum": ["a", "other"]}, "order_id": {"type": "string"}},
        "required": ["intent"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    tools = [
        {
            "type": "function",
            "function": {"name": "get_order", "parameters": {"properties": {"order_id": {}}, "required": ["order_id"]}},
        }
    ]
    assert ask(model, prompt).text.endswith("(rehearsal model)")
    assert json.loads(ask(model, prompt, response_format=form).text)["intent"] in ("a", "other")
    assert ask(model, prompt, tools=tools) == ask(model, prompt, tools=tools)
