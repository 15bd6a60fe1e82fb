"""What goes out to each provider for the same request."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from openai.types.shared.chat_model import ChatModel
from openai.types.shared.responses_model import ResponsesModel

from agents.ports import ChatMessage, ChatRequest, ToolCall
from connectors.llm.responses_wire import only_responses
from connectors.llm.structured import closed
from tests.unit.llm.dialects import ANTHROPIC, ASKED, KEY, OPENAI, ORDER, Dialect, complete
from tests.unit.llm.misbehaving import answer

LOCAL = Dialect("local")
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
CALLED = (
    ChatMessage("system", "Be kind."),
    ChatMessage("user", "hi"),
    ChatMessage(
        "assistant", "", tool_calls=(ToolCall("c.1", "shopify.get_order", {"order_id": "7"}), ToolCall("c2", "x.y", None))
    ),
    ChatMessage("tool", '{"ok": true}', tool_call_id="c.1"),
    ChatMessage("tool", "", tool_call_id="c2"),
    ChatMessage("user", "and?"),
)


async def asked(said: Dialect, request: ChatRequest = ASKED, *, body=None, **of):
    _, asked = await complete(said, answer(body or said.whole()), request=request, **of)
    return asked[0]


def having(**changes):
    return ChatRequest(**({"profile": "fast", "messages": ASKED.messages} | changes))


async def test_openai_is_asked_with_its_own_limit_and_others_with_the_old_one():
    request = having(temperature=0.3, max_tokens=77)
    theirs, other = await asked(OPENAI, request), await asked(LOCAL, request)
    assert (theirs.path, theirs.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (theirs.body["model"], theirs.body["temperature"], theirs.body["max_completion_tokens"]) == ("gpt-5.4-mini", 0.3, 77)
    assert theirs.body["messages"][1] == {"role": "user", "content": "Where is order 7?"}
    assert (other.body["max_tokens"], "max_completion_tokens" in other.body) == (77, False)


async def test_anthropic_is_asked_with_its_system_prompt_apart_and_its_front_marked_for_the_cache():
    sent = await asked(ANTHROPIC, having(temperature=1.7, tools=(ORDER,)))
    assert (sent.path, sent.headers["x-api-key"], sent.headers["anthropic-version"]) == ("/v1/messages", KEY, "2023-06-01")
    assert sent.body["system"] == [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    assert sent.body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Where is order 7?"}]}]
    assert sent.body["temperature"] == 1.0
    assert sent.body["tools"] == [
        {"name": "shopify_get_order", "description": "Reads an order.", "input_schema": dict(ORDER.parameters)}
    ]


async def test_without_a_system_prompt_the_tools_are_the_front():
    sent = await asked(ANTHROPIC, having(messages=(ChatMessage("user", "hi"),), tools=(ORDER, ORDER)))
    assert ["cache_control" in tool for tool in sent.body["tools"]] == [False, True]


@pytest.mark.parametrize("said", [OPENAI, ANTHROPIC])
async def test_a_models_own_limits_are_respected(said):
    sent = await asked(said, having(temperature=0.3, max_tokens=9000), fixed_temperature=True, max_output=4096)
    assert "temperature" not in sent.body
    assert 4096 in sent.body.values()


async def test_openai_reads_a_conversation_with_tools():
    sent = await asked(OPENAI, having(messages=CALLED))
    assert sent.body["messages"][2]["tool_calls"][0]["function"] == {
        "name": "shopify_get_order",
        "arguments": '{"order_id": "7"}',
    }
    assert sent.body["messages"][2]["tool_calls"][1]["function"] == {"name": "x_y", "arguments": "{}"}
    assert sent.body["messages"][3] == {"role": "tool", "content": '{"ok": true}', "tool_call_id": "c.1"}


async def test_anthropic_reads_a_conversation_with_tools_all_results_of_a_turn_together():
    sent = await asked(ANTHROPIC, having(messages=CALLED))
    identity = sent.body["messages"][1]["content"][0]["id"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", identity), "of the letters it takes"
    assert sent.body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": identity, "name": "shopify_get_order", "input": {"order_id": "7"}},
                {"type": "tool_use", "id": "c2", "name": "x_y", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": identity, "content": '{"ok": true}'},
                {"type": "tool_result", "tool_use_id": "c2"},
                {"type": "text", "text": "and?"},
            ],
        },
    ]


async def test_anthropic_never_gets_an_empty_text_or_a_conversation_it_does_not_begin():
    sent = await asked(ANTHROPIC, having(messages=(ChatMessage("user", " "), ChatMessage("assistant", "Hello!"))))
    assert [turn["role"] for turn in sent.body["messages"]] == ["user", "assistant"]
    assert all(block["text"].strip() for turn in sent.body["messages"] for block in turn["content"])


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "properties": {"a": {"type": "object"}}}, False),
        ({"type": "object", "properties": {"type": CLOSED}, "required": ["type"], "additionalProperties": False}, True),
    ],
)
async def test_openai_holds_to_a_schema_strictly_where_it_can(schema, strict):
    for said in (OPENAI, LOCAL):
        sent = await asked(said, having(output_schema=schema))
        assert sent.body["response_format"]["json_schema"] == {"name": "output", "schema": schema, "strict": strict}


async def test_anthropic_holds_to_a_schema_in_the_part_of_json_schema_it_knows():
    schema = {"type": "object", "properties": {"n": {"type": "number", "minimum": 0}}, "required": ["n"]}
    sent = await asked(ANTHROPIC, having(output_schema=schema))
    compiled = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"], "additionalProperties": False}
    assert sent.body["output_config"] == {"format": {"type": "json_schema", "schema": compiled}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, None),
        ({"type": "object", "properties": {"free": {"type": "object", "additionalProperties": True}}}, None),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, None),
        ({"enum": [None, "a"], "default": "a"}, {"enum": [None, "a"]}),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "array", "items": {"type": "string"}}),
        (
            {"type": "object", "properties": {"minimum": {"type": "string"}}},
            {"type": "object", "properties": {"minimum": {"type": "string"}}, "additionalProperties": False},
        ),
    ],
)
def test_a_schema_anthropic_cannot_promise_is_not_sent_as_one(schema, expected):
    assert closed(schema) == expected


OLD = [
    (Dialect("openai", "gpt-3.5-turbo"), {"type": "function", "function": {"name": "final_output"}}),
    (Dialect("openai", "gpt-4-turbo-preview"), {"type": "function", "function": {"name": "final_output"}}),
    (Dialect("anthropic", "claude-3-haiku-20240307"), {"type": "tool", "name": "final_output"}),
]


@pytest.mark.parametrize(("said", "choice"), OLD, ids=lambda each: getattr(each, "wire", ""))
async def test_a_model_without_schemas_must_call_a_tool_with_its_answer(said, choice):
    body = said.whole("", calls=[("c1", "final_output", '{"a": "b"}')])
    reply, sent = await complete(said, answer(body), request=having(output_schema=CLOSED), schema_by_tool=True)
    assert sent[0].body["tool_choice"] == choice
    assert "response_format" not in sent[0].body
    assert "output_config" not in sent[0].body
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ('{"a": "b"}', (), "stop")


@pytest.mark.parametrize(("said", "choice"), OLD, ids=lambda each: getattr(each, "wire", ""))
async def test_with_tools_it_may_call_those_first(said, choice):
    body = said.whole("", calls=[("c1", "shopify_get_order", "{}")])
    reply, sent = await complete(said, answer(body), request=having(output_schema=CLOSED, tools=(ORDER,)), schema_by_tool=True)
    assert sent[0].body["tool_choice"] == ({"type": "any"} if said.provider == "anthropic" else "required")
    assert reply.tool_calls == (ToolCall("c1", "shopify.get_order", {}, "{}"),)


def test_models_that_speak_the_responses_api_alone_are_known():
    """As OpenAI's own SDK lists them, and none of those that speak both."""
    alone = {name for each in get_args(ResponsesModel) for name in get_args(each)} - {*get_args(ChatModel)}
    assert len(alone) > 10
    assert {name for name in alone if not only_responses(name)} == set()
    for both in ("gpt-3.5-turbo", "gpt-4-turbo-preview", "gpt-4o", "gpt-5", "gpt-5.4", "gpt-5.4-mini", "o1", "o3", "o4-mini"):
        assert not only_responses(both)


async def test_the_catalogue_may_say_that_a_model_needs_it():
    sent = await asked(
        OPENAI, body={"output": [{"type": "message", "content": [{"type": "output_text", "text": "x"}]}]}, responses_api=True
    )
    assert sent.path == "/v1/responses"


async def test_text_that_utf8_cannot_carry_passes_both_ways():
    body = b'{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"a\\ud800b"}}]}'
    reply, sent = await complete(OPENAI, answer(body), request=having(messages=(ChatMessage("user", "x\ud800y"),)))
    assert (sent[0].body["messages"][0]["content"], reply.text) == ("x\ufffdy", "a\ufffdb")
