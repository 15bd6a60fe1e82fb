"""The demo's messages through the reference workflow: the product's agents, clients and sandbox, stand-in and toy shop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.rehearsal_desk import ROOT, Desk, open_desk

# What a reader takes each conversation's messages for. Kept here: the product never reads it.
WANTED = {
    "order_status": "c01 c02 c03 c04 c05 c06 c07 c08 c09 c10 c11 c12 c13 c14 c52",
    "return_request": "c15 c16 c17 c18 c19 c20 c21 c22 c23 c24 c25 c26 c27 c28 c29",
    "complaint": "c30 c31 c32 c33 c34 c35 c36 c37",
    "general_inquiry": "c38 c39 c40 c41 c42 c43 c44 c45 c46 c47 c48 c53",
}
INTENTS = {conversation: intent for intent, listed in WANTED.items() for conversation in listed.split()}
RETURN_TOOLS = ("shopify.get_order", "shopify.create_return", "shopify.generate_return_label", "gmail.send_email")


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_desk() as opened:
        yield opened


def message(text: str, conversation: str = "t1") -> dict[str, str]:
    return {"conversation_id": conversation, "customer_id": "cust-1", "customer_email": "ada.novak@example.com", "text": text}


def demo() -> list[dict[str, str]]:
    lines = (ROOT / "workflows" / "messages" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_demo_is_as_varied_as_promised() -> None:
    messages = demo()
    sizes = [len(each["text"].encode()) for each in messages]
    assert len(messages) >= 45
    assert 0 in sizes
    assert max(sizes) == 20_480
    assert max(Counter(each["conversation_id"] for each in messages).values()) == 3
    assert all(each["customer_email"].endswith("@example.com") for each in messages)


async def test_every_demo_message_is_answered_and_nearly_all_are_understood(desk: Desk) -> None:
    wrong = []
    for each in demo():
        answer = await desk.answer(each)
        assert answer.text.endswith("(rehearsal model)")
        assert len(answer.text) > 30
        if answer.intent != INTENTS.get(each["conversation_id"], answer.intent):
            wrong.append((answer.intent, each["text"][:80]))
    assert len(wrong) <= len(INTENTS) * 0.1, wrong


@pytest.mark.parametrize(
    ("text", "tools", "said"),
    [
        ("I want to return order #1003", RETURN_TOOLS, "RET-1003"),
        ("I want to return order #1005", RETURN_TOOLS[:1], "store credit"),
        ("I want to return order #1006", RETURN_TOOLS[:1], "already been returned"),
        ("I want to return order #4711", RETURN_TOOLS[:1], "could not find"),
        ("I want to return order #1002", RETURN_TOOLS[:1], "cannot be returned yet"),
        ("I want to return my shoes", (), "number of the order"),
    ],
    ids=["recent", "old", "returned", "unknown", "on its way", "no number"],
)
async def test_a_return_is_settled_by_the_state_of_its_order(desk: Desk, text: str, tools: tuple[str, ...], said: str) -> None:
    answer = await desk.answer(message(text))
    assert answer.tools == tools
    assert said in answer.text
    async with httpx.AsyncClient() as http:
        done = (await http.get(f"{desk.shop_base_url}/shop/actions", params={"tool": "SHOPIFY_CREATE_RETURN"})).json()
    assert done["count"] == tools.count("shopify.create_return")


async def test_three_turns_are_one_conversation(desk: Desk) -> None:
    asked = await desk.answer(message("Where is my parcel?", "talk"))
    told = await desk.answer(message("It is #1002", "talk"))
    then = await desk.answer(message("And how do I return it once it is here?", "talk"))
    assert "number of your order" in asked.text
    assert told.tools == ("shopify.get_order", "shopify.get_tracking_info")
    assert "TRK" in told.text
    assert then.intent == "return_request"
    assert "1002" in then.text


async def test_a_grave_complaint_reaches_the_supervisors(desk: Desk) -> None:
    answer = await desk.answer(message("Unacceptable!!! Nobody answers me, I will call my lawyer."))
    assert answer.outputs["handle_complaint"]["severity"] == "high"
    async with httpx.AsyncClient() as http:
        posted = (await http.get(f"{desk.shop_base_url}/shop/actions", params={"tool": "SLACK_SEND_MESSAGE"})).json()
    assert [action["arguments"]["channel"] for action in posted["actions"]] == ["#support-supervisors"]


async def test_questions_are_answered_from_the_help_pages(desk: Desk) -> None:
    said = {
        "How much is shipping to Norway?": "Norway",
        "When are you open on Saturday?": "16:00",
        "Which payment methods do you accept?": "Visa",
    }
    answers = {question: (await desk.answer(message(question, question))).text for question in said}
    assert {question: fact in answers[question] for question, fact in said.items()} == dict.fromkeys(said, True), answers
