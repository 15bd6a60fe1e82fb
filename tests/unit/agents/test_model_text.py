"""What models write around an answer."""

from __future__ import annotations

import json

import pytest

from agents.errors import Fatal
from agents.jsonable import NotJson
from agents.model_text import find_json, without_thoughts
from agents.ports import ToolResult
from agents.reasoning import ReasoningAgent
from agents.simple import SimpleAgent
from tests.unit.agents.doubles import CREATE_RETURN, GET_ORDER, Scripted, Shelf, said, wants, work

VALUE = {"intent": "order_status", "confidence": 0.9}
WRITTEN = json.dumps(VALUE)


@pytest.mark.parametrize(
    "written",
    [
        WRITTEN,
        f"```json\n{WRITTEN}\n```",
        f"Sure! Here is the JSON you asked for:\n\n```json\n{WRITTEN}\n```\nLet me know if you need anything else.",
        f"Here it is: {WRITTEN} — anything else?",
        f"I read {{}} and [] first. {WRITTEN}",
    ],
)
def test_json_between_words_is_found(written):
    assert find_json(written) == VALUE


@pytest.mark.parametrize("written", ["", "no json", f"{WRITTEN} or {WRITTEN}", "{" * 5000, '{"a": 1' + "0" * 5000 + "}"])
def test_what_is_not_one_value_is_refused(written):
    with pytest.raises(NotJson):
        find_json(written)


@pytest.mark.parametrize(
    ("written", "left"),
    [("<think>a</think>b", "b"), ("a</think>b", "b"), ("<think>a", ""), ("a <think> b", "a <think> b"), ("", "")],
)
def test_thoughts_at_the_beginning_are_taken_off(written, left):
    assert without_thoughts(written) == left


async def test_a_text_that_was_cut_is_asked_for_again_and_never_passed_on_as_whole():
    model = Scripted(said("Your refund of 49 euros was", finish="length"), "Your refund of 49 euros is done.")
    result = await SimpleAgent().run(work(), model=model, tools=Shelf())
    assert result.output == "Your refund of 49 euros is done."
    assert "cut off" in model.asked[1].messages[-1].content
    with pytest.raises(Fatal, match="cut off"):
        await SimpleAgent().run(work(), model=Scripted(said("a", finish="length"), said("b", finish="length")), tools=Shelf())


async def test_a_tool_call_written_as_text_is_told_back_and_reaches_no_customer():
    markup = '<tool_call>\n{"name": "shopify_get_order", "arguments": {"order_id": "7"}}\n</tool_call>'
    model = Scripted(markup, said("", wants("shopify.get_order", {"order_id": "7"})), "It is on its way.")
    tools = Shelf(GET_ORDER)
    result = await ReasoningAgent().run(work(), model=model, tools=tools)
    assert result.output == {"response": "It is on its way."}
    assert len(tools.done) == 1


async def test_a_call_repeated_in_one_reply_acts_once_and_its_result_answers_them_all():
    same = [wants("shopify.create_return", {"order_id": "7"}) for _ in range(5)]
    other = wants("shopify.create_return", {"order_id": "8"})
    model = Scripted(said("", *same, other), said("", same[0]), "Done.")
    tools = Shelf(CREATE_RETURN, act=lambda call: ToolResult(True, {"return": call.arguments["order_id"]}))
    await ReasoningAgent().run(work(), model=model, tools=tools)
    assert [arguments["order_id"] for _, arguments in tools.done] == ["7", "8", "7"], "in another reply it is another wish"
    results = [json.loads(message.content) for message in model.asked[1].messages if message.role == "tool"]
    assert [each["data"]["return"] for each in results] == ["7"] * 5 + ["8"]


async def test_reads_are_made_as_often_as_they_are_wished():
    same = [wants("shopify.get_order", {"order_id": "7"}) for _ in range(3)]
    tools = Shelf(GET_ORDER)
    await ReasoningAgent().run(work(), model=Scripted(said("", *same), "Done."), tools=tools)
    assert len(tools.done) == 3


@pytest.mark.parametrize(
    "written",
    [
        "[" * 100_000,
        "```\n{}\n```\n" * 20_000,
        "{ " * 500_000,
        "<think></think>" * 50_000,
        "</think>" * 50_000,
        "<think>" * 50_000,
    ],
    ids=["brackets", "fences", "braces", "thoughts", "ends", "starts"],
)
def test_no_text_is_read_over_and_over(written):
    """Each place is looked at a few times at most, whatever is written, and nothing recurses into it."""
    assert without_thoughts(written) in (written, "")
    with pytest.raises(NotJson):
        find_json(written)
