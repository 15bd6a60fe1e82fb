"""The chat model over endpoints that behave, and over those that do not."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging

import pytest

from agents.errors import Fatal, Retryable
from agents.ports import ChatMessage, ChatRequest, ToolCall, ToolSpec
from connectors.llm import guard
from connectors.llm.openai_chat import OpenAIChat, Patience, retry_after
from connectors.llm.profiles import Endpoint, LlmSettings, Model, catalogue
from tests.unit.llm.misbehaving import HANG_UP, SILENCE, answer, closed_port, serving

KEY = "sk-test-0123456789abcdef"
SPEC = ToolSpec("shopify.get_order", "Reads an order.", {"type": "object", "properties": {"order_id": {"type": "string"}}})


def request(**changes):
    return ChatRequest(**({"profile": "fast", "messages": (ChatMessage("user", "hello"),)} | changes))


def completion(content="hi", *, finish="stop", usage=None, **message):
    used = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100} if usage is None else usage
    said = {"role": "assistant", "content": content, **message}
    return answer(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": used or None,
         "choices": [{"index": 0, "finish_reason": finish, "message": said}]}
    )  # fmt: skip


@contextlib.asynccontextmanager
async def model_at(url, *, model=None, patience=None, provider="local"):
    endpoint = Endpoint(f"{url}/v1", KEY, provider=provider)
    async with OpenAIChat(LlmSettings(endpoint, {"fast": model or catalogue()["gpt-3.5-turbo"]}), patience=patience) as chat:
        yield chat


async def ask(*script, model=None, patience=None, provider="local", **changes):
    async with serving(*script) as server, model_at(server.url, model=model, patience=patience, provider=provider) as chat:
        return await chat.complete(request(**changes)), server.asked


async def test_the_request_says_what_was_asked_and_the_reply_what_came():
    reply, asked = await ask(completion("hello there"), temperature=0.3, max_tokens=77)
    body = asked[0].body
    assert (asked[0].path, asked[0].headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("gpt-3.5-turbo", 0.3, 77)
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    assert (reply.text, reply.provider, reply.model, reply.finish_reason) == ("hello there", "openai", "gpt-3.5-turbo", "stop")
    assert (reply.input_text_tokens, reply.output_text_tokens, reply.cost_micro_usd) == (1000, 100, 650)


async def test_cached_tokens_are_told_apart_and_cheaper():
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 800}}
    reply, _ = await ask(completion(usage=usage), model=catalogue()["gpt-5.4-mini"])
    assert (reply.cached_text_tokens, reply.cost_micro_usd) == (800, 210)


async def test_tokens_are_estimated_when_the_endpoint_does_not_count():
    reply, _ = await ask(completion("12345", usage={}))
    assert (reply.input_text_tokens, reply.output_text_tokens) == (2, 2)


async def test_a_models_own_limits_are_respected():
    _, asked = await ask(completion(), model=catalogue()["gpt-5.4"], provider="openai", temperature=0.3, max_tokens=9)
    assert "temperature" not in asked[0].body
    assert asked[0].body["max_completion_tokens"] == 9


async def test_tools_travel_under_wire_names_and_come_back_under_their_own():
    call = {"id": "c1", "type": "function", "function": {"name": "shopify_get_order", "arguments": '{"order_id": "7"}'}}
    reply, asked = await ask(completion(None, finish="tool_calls", tool_calls=[call]), tools=(SPEC,))
    assert asked[0].body["tools"][0]["function"]["name"] == "shopify_get_order"
    assert reply.tool_calls == (ToolCall("c1", "shopify.get_order", {"order_id": "7"}, '{"order_id": "7"}'),)
    assert reply.text == ""


@pytest.mark.parametrize(
    ("raw", "arguments"), [("", {}), ("{}", {}), ("{bad", None), ("[1]", None), ('"x"', None), ('{"n": NaN}', None)]
)
async def test_arguments_that_are_no_object_are_kept_raw(raw, arguments):
    call = {"id": "", "type": "function", "function": {"name": "made_up", "arguments": raw}}
    reply, _ = await ask(completion(None, tool_calls=[call]), tools=(SPEC,))
    assert reply.tool_calls == (ToolCall("call_1", "made_up", arguments, raw),)


async def test_a_conversation_with_tools_keeps_its_names_after_the_tools_are_withdrawn():
    said = (
        ChatMessage("user", "hi"),
        ChatMessage("assistant", "", tool_calls=(ToolCall("c1", "shopify.get_order", {"order_id": "7"}),)),
        ChatMessage("tool", '{"ok": true}', tool_call_id="c1"),
    )
    _, asked = await ask(completion(), messages=said)
    assert asked[0].body["messages"][1]["tool_calls"][0]["function"] == {
        "name": "shopify_get_order",
        "arguments": '{"order_id": "7"}',
    }
    assert asked[0].body["messages"][2] == {"role": "tool", "content": '{"ok": true}', "tool_call_id": "c1"}


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


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
async def test_an_output_schema_is_strict_only_where_the_provider_allows_it(schema, strict):
    _, asked = await ask(completion("{}"), output_schema=schema)
    assert asked[0].body["response_format"]["json_schema"] == {"name": "output", "schema": schema, "strict": strict}


@pytest.mark.parametrize(
    "reply", [completion(None, refusal="I will not."), completion("", finish="content_filter")], ids=["refusal", "filter"]
)
async def test_a_refusal_is_a_reply_that_was_paid_for(reply):
    got, _ = await ask(reply)
    assert (got.finish_reason, got.cost_micro_usd) == ("refusal", 650)
    assert got.text


async def test_text_that_utf8_cannot_carry_passes_both_ways():
    reply, asked = await ask(answer(
        b'{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"a\\ud800b"}}]}'
    ), messages=(ChatMessage("user", "x\ud800y"),))  # fmt: skip
    assert (asked[0].body["messages"][0]["content"], reply.text) == ("x\ufffdy", "a\ufffdb")


def error(status, message="the reason", code=None, **headers):
    return answer({"error": {"message": message, "type": "t", "code": code}}, status, **headers)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (error(429), "fewer requests"),
        (error(500), r"failed \(500\): the reason"),
        (error(503), "503"),
        (error(408), "408"),
        (answer(b"<html>bad gateway</html>", 502, content_type="text/html"), "502"),
        (answer(b'{"choices": [', 200), "could not be read"),
        (HANG_UP, "cannot be reached"),
    ],
    ids=["429", "500", "503", "408", "502 html", "cut json", "hang up"],
)
async def test_what_may_pass_is_retryable_and_tried_once(said, told):
    async with serving(said) as server, model_at(server.url) as chat:
        with pytest.raises(Retryable, match=told) as failed:
            await chat.complete(request())
    assert len(server.asked) == 1
    assert (failed.value.provider, failed.value.model) == ("openai", "gpt-3.5-turbo")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (error(401, f"Incorrect API key provided: {KEY}."), "Set HIL_LLM_API_KEY"),
        (error(403), "Set HIL_LLM_API_KEY"),
        (error(402), "no credit"),
        (error(429, code="insufficient_quota"), "no credit"),
        (error(400, "bad schema"), "bad schema"),
        (error(400, code="context_length_exceeded"), "larger window"),
        (error(404, "no such model"), "HIL_MODEL_FAST"),
        (error(422), "the reason"),
        (answer(b"<html>hello</html>", 200, content_type="text/html"), "ends in /v1"),
        (answer({"choices": []}), "ends in /v1"),
        (answer({"hello": 1}), "ends in /v1"),
        (answer([]), "ends in /v1"),
    ],
    ids=["401", "403", "402", "quota", "400", "too long", "404", "422", "html", "no choice", "other json", "list"],
)
async def test_what_will_not_pass_is_fatal_and_says_what_to_do(said, told):
    async with serving(said) as server, model_at(server.url) as chat:
        with pytest.raises(Fatal, match=told) as failed:
            await chat.complete(request())
    assert KEY not in str(failed.value)


async def test_nobody_at_the_port_is_retryable():
    async with model_at(await closed_port()) as chat:
        with pytest.raises(Retryable, match="cannot be reached.*Is it running"):  # noqa: RUF043
            await chat.complete(request())


@pytest.mark.parametrize("patience", [Patience(read=0.05, total=60), Patience(read=60, total=0.05)])
async def test_silence_ends_at_the_read_limit_and_at_the_total(patience):
    async with serving(SILENCE) as server, model_at(server.url, patience=patience) as chat:
        with pytest.raises(Retryable, match="did not answer in time"):
            await chat.complete(request())


async def test_retry_after_is_handed_on():
    async with serving(error(429, retry_after="17")) as server, model_at(server.url) as chat:
        with pytest.raises(Retryable) as failed:
            await chat.complete(request())
    assert failed.value.retry_after_seconds == 17


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2.5", 2.5),
        ("-1", 0),
        ("1e9", 3600),
        ("nan", None),
        ("soon", None),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after(header, now=datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)) == seconds


async def test_an_unknown_profile_is_fatal_and_names_those_there_are():
    async with serving(completion()) as server, model_at(server.url) as chat:
        with pytest.raises(Fatal, match=r"'genius'.*Profiles: fast"):
            await chat.complete(request(profile="genius"))


async def test_the_key_is_in_no_log_and_no_repr(caplog):
    caplog.set_level(logging.DEBUG)
    async with serving(error(401, f"Incorrect API key provided: {KEY}")) as server, model_at(server.url) as chat:
        with pytest.raises(Fatal):
            await chat.complete(request())
    assert KEY not in caplog.text
    assert KEY not in repr(LlmSettings(Endpoint("http://x", KEY), {}))


async def test_real_calls_are_refused_when_the_switch_is_off(monkeypatch):
    monkeypatch.setattr(guard, "ALLOW_REAL_CALLS", False)
    async with model_at("https://api.openai.example", model=Model("m", "openai", "m")) as chat:
        with pytest.raises(Fatal, match="api.openai.example are forbidden"):  # noqa: RUF043
            await chat.complete(request())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://localhost", "http://[::1]:8080/v1"])
def test_loopback_is_never_forbidden(monkeypatch, url):
    monkeypatch.setattr(guard, "ALLOW_REAL_CALLS", False)
    guard.check(url)


async def test_a_proxy_of_the_environment_does_not_see_loopback_calls(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", await closed_port())
    reply, _ = await ask(completion("direct"))
    assert reply.text == "direct"


async def test_json_numbers_in_arguments_survive():
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "shopify_get_order", "arguments": json.dumps({"n": [1, 2.5, None]})},
    }
    reply, _ = await ask(completion(None, tool_calls=[call]), tools=(SPEC,))
    assert reply.tool_calls[0].arguments == {"n": [1, 2.5, None]}
