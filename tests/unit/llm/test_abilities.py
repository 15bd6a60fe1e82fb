"""What an endpoint does not take is left out, the same call goes on, and nobody asks for it again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agents.ports import Attached, ChatMessage, ChatRequest, ToolCall
from agents.router.ports import ProviderFailure
from tests.unit.llm.dialects import ANTHROPIC, ASKED, BOTH, OPENAI, ORDER, Dialect, complete, provider_at, stream
from tests.unit.llm.misbehaving import Asked, answer, events, serving, streamed

LOCAL = Dialect("local")
CLOSED = {"type": "object", "properties": {"intent": {"type": "string"}}, "required": ["intent"], "additionalProperties": False}
SCHEMA = ChatRequest("fast", ASKED.messages, output_schema=CLOSED)
WITH_TOOL = ChatRequest("fast", ASKED.messages, tools=(ORDER,))
CALLED = (
    *ASKED.messages,
    ChatMessage("assistant", "", tool_calls=(ToolCall("c1", ORDER.name, {"order_id": "7"}),)),
    ChatMessage("tool", '{"ok": true}', tool_call_id="c1"),
)
AFTER_CALL = ChatRequest("fast", CALLED, tools=(ORDER,))
both = pytest.mark.parametrize("said", BOTH, ids=["openai", "anthropic"])


def refusing(told: str, refused, *, status: int = 400):
    """An endpoint that refuses bodies of which `refused` holds, and answers all others."""

    def answering(asked: Asked) -> bytes:
        return LOCAL.error(status, told) if refused(asked.body) else answer(LOCAL.whole('{"intent": "x"}'))

    return answering


def is_strict(body) -> bool:
    return bool(body.get("response_format", {}).get("json_schema", {}).get("strict"))


def has_null(body) -> bool:
    return any(message["content"] is None for message in body["messages"])


def has_long_ids(body) -> bool:
    return any(len(call["id"]) != 9 for message in body["messages"] for call in message.get("tool_calls", ()))


LACKS = {
    "json_schema": (400, "This response_format type is unavailable now", SCHEMA, lambda body: "response_format" in body),
    "json_schema, in silence": (500, "Internal server error", SCHEMA, lambda body: "response_format" in body),
    "strict": (400, "Invalid schema for response_format: strict is not supported", SCHEMA, is_strict),
    "temperature": (400, "temperature does not support 0.3", replace(ASKED, temperature=0.3), lambda body: "temperature" in body),
    "max_tokens": (400, "'max_tokens' is not supported. Use 'max_completion_tokens'", ASKED, lambda body: "max_tokens" in body),
    "null_content": (500, "Input should be a valid string", AFTER_CALL, has_null),
    "call_ids": (400, "Tool call id was c1 but must be a-z, A-Z, 0-9, with a length of 9.", AFTER_CALL, has_long_ids),
}


@pytest.mark.parametrize("name", LACKS)
async def test_a_refusal_that_names_an_ability_is_asked_once_more_without_and_remembered(name):
    status, told, request, refused = LACKS[name]
    async with serving(refusing(told, refused, status=status)) as server, provider_at(server.url, LOCAL) as provider:
        for calls in (2, 3):
            reply = await provider.complete(LOCAL.model, request)
            assert json.loads(reply.text) == {"intent": "x"}
            assert len([each for each in server.asked if not refused(each.body)]) == calls - 1
        learned = provider.lacks["m"]
        assert name.partition(",")[0] in learned
        before = len(server.asked)
        await provider.complete(LOCAL.model, request)
        assert len(server.asked) == before + 1


async def test_a_stream_goes_on_without_as_well():
    def answering(asked: Asked):
        if "stream_options" in asked.body:
            return LOCAL.error(400, "unknown field stream_options")
        return streamed(LOCAL.piece("hi"), LOCAL.closing())

    deltas, asked = await stream(LOCAL, answering)
    assert (deltas[-1].reply.text, len(asked)) == ("hi", 2)


async def test_with_neither_schemas_nor_forced_tools_it_is_asked_in_words():
    def refused(body) -> bool:
        return "response_format" in body or "tool_choice" in body

    reply, asked = await complete(LOCAL, refusing("response_format and tool_choice are not known", refused), request=SCHEMA)
    assert json.loads(reply.text) == {"intent": "x"}
    assert '"required": ["intent"]' in asked[-1].body["messages"][0]["content"]


async def test_what_the_catalogue_says_is_not_tried():
    lacking = {"lacks": frozenset({"json_schema"})}
    _, asked = await complete(LOCAL, answer(LOCAL.whole()), request=SCHEMA, **lacking)
    assert [("response_format" in each.body, "tools" in each.body) for each in asked] == [(False, True)]


async def test_a_refusal_for_another_reason_is_not_repeated():
    async with serving(LOCAL.error(400, "your plan is too small")) as server, provider_at(server.url, LOCAL) as provider:
        with pytest.raises(ProviderFailure):
            await provider.complete(LOCAL.model, SCHEMA)
        assert len(server.asked) == 1


async def test_a_refusal_that_stays_ends_and_teaches_nothing():
    everything = LOCAL.error(400, "schema strict response_format tool_choice temperature")
    async with serving(everything) as server, provider_at(server.url, LOCAL) as provider:
        with pytest.raises(ProviderFailure):
            await provider.complete(LOCAL.model, SCHEMA)
        assert 1 < len(server.asked) <= 5
        assert provider.lacks == {}


@pytest.mark.parametrize("said", [LOCAL, *BOTH], ids=["local", "openai", "anthropic"])
@pytest.mark.parametrize("schema", [{"type": "array", "items": {"type": "string"}}, {"enum": ["a", "b"]}], ids=["list", "enum"])
async def test_a_schema_that_is_no_objects_travels_in_one(said, schema):
    value = ["x"] if "items" in schema else "a"
    request = replace(SCHEMA, output_schema=schema)
    reply, asked = await complete(said, answer(said.whole(json.dumps({"value": value}))), request=request)
    assert json.loads(reply.text) == value
    assert '"required": ["value"]' in json.dumps(asked[0].body)


THOUGHT = "I should look."
SIGNED = {"google": {"thought_signature": "c2ln"}}


async def attached_by(dialect: Dialect, script) -> Attached:
    reply, _ = await complete(dialect, script, request=WITH_TOOL)
    assert reply.attached is not None
    return reply.attached


def signed() -> bytes:
    body = LOCAL.whole("", calls=[("c1", "shopify_get_order", "{}")])
    message = body["choices"][0]["message"]
    message["reasoning_content"] = THOUGHT
    message["tool_calls"][0]["extra_content"] = SIGNED
    return answer(body)


def following(attached: Attached) -> ChatRequest:
    first = ChatMessage("assistant", "", tool_calls=(ToolCall("c1", ORDER.name, {}),), attached=attached)
    return ChatRequest("fast", (*ASKED.messages, first, ChatMessage("tool", "{}", tool_call_id="c1")), tools=(ORDER,))


async def test_what_an_endpoint_attached_to_its_message_goes_back_to_it_unchanged_and_to_nobody_else():
    attached = await attached_by(LOCAL, signed())
    _, asked = await complete(LOCAL, answer(LOCAL.whole()), request=following(attached))
    message = next(each for each in asked[0].body["messages"] if each["role"] == "assistant")
    assert message["reasoning_content"] == THOUGHT
    assert message["tool_calls"][0]["extra_content"] == SIGNED
    for other in BOTH:
        _, asked = await complete(other, answer(other.whole()), request=following(attached))
        assert THOUGHT not in json.dumps(asked[0].body)


async def test_what_came_in_pieces_goes_back_whole():
    function = {"name": "shopify_get_order", "arguments": "{}"}
    call = {"index": 0, "id": "c1", "function": function, "extra_content": SIGNED}
    pieces = [{"reasoning_content": "I should "}, {"reasoning_content": "look."}, {"tool_calls": [call]}]
    written = events(*({"choices": [{"index": 0, "delta": delta}]} for delta in pieces))
    deltas, _ = await stream(LOCAL, streamed(written, LOCAL.closing(finish="tool_calls")), request=WITH_TOOL)
    assert deltas[-1].reply.attached == await attached_by(LOCAL, signed())


async def test_anthropics_thoughts_go_back_before_its_calls():
    thought = {"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}
    body = ANTHROPIC.whole("", calls=[("c1", "shopify_get_order", "{}")])
    body["content"].insert(0, thought)
    attached = await attached_by(ANTHROPIC, answer(body))
    _, asked = await complete(ANTHROPIC, answer(ANTHROPIC.whole()), request=following(attached))
    first, second = asked[0].body["messages"][1]["content"]
    assert (first, second["type"]) == (thought, "tool_use")


@both
async def test_in_a_last_turn_the_tools_are_there_and_may_not_be_called(said):
    _, asked = await complete(said, answer(said.whole()), request=replace(AFTER_CALL, use_tools=False))
    assert [tool.get("name") or tool["function"]["name"] for tool in asked[0].body["tools"]] == ["shopify_get_order"]
    assert asked[0].body["tool_choice"] in ("none", {"type": "none"})


async def test_other_servers_do_not_see_tools_they_may_not_call():
    _, asked = await complete(LOCAL, answer(LOCAL.whole()), request=replace(AFTER_CALL, use_tools=False))
    assert "tools" not in asked[0].body


async def test_anthropic_is_told_of_tools_that_were_called_when_none_are_offered():
    _, asked = await complete(ANTHROPIC, answer(ANTHROPIC.whole()), request=ChatRequest("fast", CALLED))
    assert [tool["name"] for tool in asked[0].body["tools"]] == ["shopify_get_order"]
    assert asked[0].body["tool_choice"] == {"type": "none"}


async def test_property_names_that_anthropic_does_not_take_are_others_there_and_their_own_here():
    properties = {"$filter": {"type": "string"}, "filter[id]": {"type": "string"}, "top": {"type": "integer"}}
    tool = replace(ORDER, parameters={"type": "object", "properties": properties, "required": ["$filter"]})

    def answering(asked: Asked) -> bytes:
        schema = asked.body["tools"][0]["input_schema"]
        first, second, third = schema["properties"]
        assert (schema["required"], third) == ([first], "top")
        assert not {"$filter", "filter[id]"} & {first, second}
        return answer(ANTHROPIC.whole("", calls=[("c1", "shopify_get_order", json.dumps({first: "a", second: "b", third: 1}))]))

    reply, _ = await complete(ANTHROPIC, answering, request=replace(WITH_TOOL, tools=(tool,)))
    assert reply.tool_calls[0].arguments == {"$filter": "a", "filter[id]": "b", "top": 1}
    said = ChatMessage("assistant", "", tool_calls=reply.tool_calls)
    history = (*ASKED.messages, said, ChatMessage("tool", "{}", tool_call_id="c1"))
    _, asked = await complete(ANTHROPIC, answer(ANTHROPIC.whole()), request=ChatRequest("fast", history, tools=(tool,)))
    assert "$filter" not in asked[0].body["messages"][1]["content"][0]["input"]


@both
async def test_calls_with_equal_ids_get_their_own_and_so_do_their_results(said):
    """A server without ids gives `call_1` in every turn, and some number all calls alike."""
    call = ToolCall("call_1", ORDER.name, {})
    first, second = (ChatMessage("tool", text, tool_call_id="call_1") for text in ("first", "second"))
    turns = (ChatMessage("assistant", "", tool_calls=(call, call)), first, second)
    history = (*ASKED.messages, *turns, ChatMessage("assistant", "", tool_calls=(call,)), first)
    _, asked = await complete(said, answer(said.whole()), request=ChatRequest("fast", history, tools=(ORDER,)))
    sent = asked[0].body["messages"]
    if said is OPENAI:
        calls = [each["id"] for message in sent for each in message.get("tool_calls", ())]
        answered = [(message["tool_call_id"], message["content"]) for message in sent if message["role"] == "tool"]
    else:
        blocks = [block for message in sent for block in message["content"]]
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        answered = [(block["tool_use_id"], block["content"]) for block in blocks if block["type"] == "tool_result"]
    assert len(set(calls)) == 3
    assert answered == list(zip(calls, ["first", "second", "first"], strict=True))
