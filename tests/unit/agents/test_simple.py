"""The simple agent."""

from __future__ import annotations

import pytest

from agents.errors import Fatal
from agents.simple import SimpleAgent
from tests.unit.agents.doubles import Scripted, Shelf, said, work

SCHEMA = {"type": "object", "properties": {"intent": {"enum": ["order_status", "complaint"]}}, "required": ["intent"]}


async def test_text_is_the_output_when_there_is_no_schema():
    result = await SimpleAgent().run(work(), model=Scripted("It is on its way."), tools=Shelf())
    assert result.output == "It is on its way."


async def test_schema_travels_with_the_request_and_the_value_is_the_output():
    model = Scripted('{"intent": "order_status"}')
    result = await SimpleAgent().run(work(output_schema=SCHEMA), model=model, tools=Shelf())
    assert (result.output, model.asked[0].output_schema) == ({"intent": "order_status"}, SCHEMA)


async def test_json_in_a_markdown_fence_counts():
    result = await SimpleAgent().run(
        work(output_schema=SCHEMA), model=Scripted('```json\n{"intent": "complaint"}\n```'), tools=Shelf()
    )
    assert result.output == {"intent": "complaint"}


@pytest.mark.parametrize(
    "first",
    [
        "",
        "   ",
        "I think it is an order",
        '{"intent": "weather"}',
        '{"intent": NaN}',
        "[" * 5000,
        '{"intent": 1' + "0" * 5000 + "}",
    ],
)
async def test_an_unusable_answer_gets_one_chance_to_be_mended(first: str):
    model = Scripted(first, '{"intent": "order_status"}')
    result = await SimpleAgent().run(work(output_schema=SCHEMA), model=model, tools=Shelf())
    assert result.output == {"intent": "order_status"}
    assert "Answer" in model.asked[1].messages[-1].content


async def test_the_model_is_told_what_broke_the_schema():
    model = Scripted('{"intent": "weather"}', '{"intent": "complaint"}')
    await SimpleAgent().run(work(output_schema=SCHEMA), model=model, tools=Shelf())
    assert "$.intent: 'weather' is not one of" in model.asked[1].messages[-1].content


async def test_a_second_unusable_answer_is_fatal_and_names_node_cause_and_way_out():
    with pytest.raises(Fatal, match=r"node n: .*two tries.*not JSON.*Simplify"):
        await SimpleAgent().run(work(output_schema=SCHEMA), model=Scripted("no", "still no"), tools=Shelf())


async def test_a_refusal_is_fatal_and_not_argued_with():
    model = Scripted(said("I cannot help with that", finish="refusal"))
    with pytest.raises(Fatal, match="refused to answer: I cannot help with that"):
        await SimpleAgent().run(work(), model=model, tools=Shelf())
    assert len(model.asked) == 1


async def test_an_answer_cut_at_the_length_limit_is_asked_for_again_shorter():
    model = Scripted(said('{"intent": "ord', finish="length"), '{"intent": "complaint"}')
    await SimpleAgent().run(work(output_schema=SCHEMA), model=model, tools=Shelf())
    assert "much shorter" in model.asked[1].messages[-1].content


async def test_an_empty_instruction_is_never_sent_empty():
    model = Scripted("How can I help?")
    await SimpleAgent().run(work(instruction="", customer_text=""), model=model, tools=Shelf())
    assert "empty" in model.asked[0].messages[-1].content


async def test_a_schema_that_is_none_is_the_definitions_fault():
    with pytest.raises(Fatal, match="output_schema is not a valid JSON Schema"):
        await SimpleAgent().run(work(output_schema={"type": "banana"}), model=Scripted("{}", "{}"), tools=Shelf())


async def test_a_schema_elsewhere_is_not_fetched():
    with pytest.raises(Fatal, match="refers to"):
        await SimpleAgent().run(
            work(output_schema={"$ref": "http://127.0.0.1:9/s.json"}), model=Scripted("{}", "{}"), tools=Shelf()
        )


async def test_lone_surrogates_do_not_leave_the_agent():
    result = await SimpleAgent().run(work(output_schema={}), model=Scripted('{"a": "\\ud800"}'), tools=Shelf())
    assert result.output == {"a": "\ufffd"}


async def test_a_message_of_20_kb_passes_whole():
    text = "x" * 20_000
    model = Scripted("ok")
    await SimpleAgent().run(work(instruction=text), model=model, tools=Shelf())
    assert model.asked[0].messages[-1].content == text
