"""What comes back from each provider: usage in one meaning, tool calls under their own names, streams piece by piece."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import ChatMessage, ChatRequest, ToolCall, Usage
from connectors.llm import listening, usage
from connectors.llm.reading import Unreadable, decoded
from connectors.llm.sse import Events
from tests.unit.llm.dialects import ANTHROPIC, ASKED, BOTH, OPENAI, ORDER, Dialect, complete, provider_at, stream, stream_of
from tests.unit.llm.misbehaving import SILENCE, answer, events, serving, streamed

RESPONSES = Dialect("openai", "gpt-5-pro")
either = pytest.mark.parametrize("said", BOTH, ids=["openai", "anthropic"])
WITH_TOOL = ChatRequest("fast", ASKED.messages, tools=(ORDER,))


@either
async def test_usage_means_the_same_whoever_counted(said):
    """OpenAI's input has the cached tokens in it, Anthropic's has not; reasoning is part of the output at both."""
    reply, _ = await complete(said, answer(said.whole()))
    deltas, _ = await stream(said, stream_of(said, "hi"))
    assert reply.usage == deltas[-1].reply.usage == Usage(1000, 800, 0, 100, 30)
    assert reply.usage == said.usage_normal


async def test_anthropics_cache_writes_are_part_of_the_input():
    used = ANTHROPIC.usage(cache_creation_input_tokens=500)
    reply, _ = await complete(ANTHROPIC, answer(ANTHROPIC.whole(usage=used)))
    assert reply.usage == Usage(1500, 800, 500, 100, 30)


def test_reasoning_that_was_left_out_of_the_output_is_found_by_the_total():
    said = {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 7}}
    assert usage.of_chat({**said, "total_tokens": 22}) == Usage(10, 0, 0, 12, 7)
    assert usage.of_chat({**said, "total_tokens": 15}) == Usage(10, 0, 0, 5, 0)


counts = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=3), st.booleans(), st.lists(st.integers(), max_size=1))


TOTALS = ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"]
PARTS = ["cached_tokens", "cache_write_tokens", "reasoning_tokens", "thinking_tokens"]
names = st.sampled_from([*TOTALS, *PARTS, "cache_read_input_tokens", "cache_creation_input_tokens"])
details = st.sampled_from(["prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"])
flat = st.dictionaries(names, counts, max_size=8)


@given(flat, st.dictionaries(details, flat, max_size=3))
def test_whatever_is_said_a_usage_is_possible_or_unknown(said, detailed):
    for read in (usage.of_chat, usage.of_responses, usage.of_messages):
        used = read(said | detailed)
        if used is not None:
            assert 0 <= used.cached_text_tokens + used.cache_write_text_tokens <= used.input_text_tokens
            assert 0 <= used.reasoning_text_tokens <= used.output_text_tokens


@either
async def test_tools_come_back_under_their_own_names(said):
    body = said.whole("", calls=[("c1", "shopify_get_order", '{"order_id": "7"}'), ("c2", "made_up", "{}")])
    reply, _ = await complete(said, answer(body), request=WITH_TOOL)
    assert reply.tool_calls == (
        ToolCall("c1", "shopify.get_order", {"order_id": "7"}, '{"order_id": "7"}'),
        ToolCall("c2", "made_up", {}, "{}"),
    )
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")


@either
async def test_a_streamed_tool_call_is_put_together(said):
    whole = streamed(said.opening(), said.piece("One moment."), said.wish('{"order_id": "7"}'), said.closing(finish="tool_use"))
    deltas, _ = await stream(said, whole, request=WITH_TOOL)
    reply = deltas[-1].reply
    assert reply.text == "One moment."
    assert reply.tool_calls == (ToolCall("c1", "shopify.get_order", {"order_id": "7"}, '{"order_id": "7"}'),)
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize("raw", ["", "{}", "{bad", "[1]", '"x"', '{"n": NaN}'])
async def test_arguments_that_are_no_object_are_kept_raw(raw):
    reply, _ = await complete(OPENAI, answer(OPENAI.whole("", calls=[("", "made_up", raw)])))
    arguments = {} if raw in ("", "{}") else None
    assert reply.tool_calls == (ToolCall("call_1", "made_up", arguments, raw),)


@either
async def test_a_stream_gives_its_text_as_it_comes_with_what_is_paid_so_far(said):
    deltas, asked = await stream(said, stream_of(said, "Your order ", "is on ", "its way."))
    assert [delta.text for delta in deltas if delta.text] == ["Your order ", "is on ", "its way."]
    assert deltas[-1].reply.text == "Your order is on its way."
    assert deltas[-1].reply.first_token_ms <= deltas[-1].reply.latency_ms
    paid = [delta.paid.output_text_tokens for delta in deltas]
    assert paid == sorted(paid)
    assert deltas[-1].paid == said.usage_normal
    if said is OPENAI:
        assert asked[0].body["stream_options"] == {"include_usage": True}


@either
async def test_who_stops_reading_knows_what_is_paid_and_the_connection_is_let_go(said):
    gone = asyncio.Event()

    async def watch(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for part in streamed(said.opening(), said.piece("x" * 40)):
            writer.write(part)
        while await reader.read(65536):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(watch, "127.0.0.1", 0)
    async with server, provider_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", said) as provider:
        pieces = provider.stream(said.model, ASKED)
        first = await anext(pieces)
        await pieces.aclose()
        await asyncio.wait_for(gone.wait(), 5)
    assert first.paid.output_text_tokens == 10
    assert first.paid.input_text_tokens > 0


@either
async def test_a_whole_answer_does_not_wait_for_a_connection_that_stays_open(said, monkeypatch):
    monkeypatch.setattr(listening, "GRACE_S", 0.05)
    deltas, _ = await stream(said, (*stream_of(said, "hi"), SILENCE))
    assert deltas[-1].reply.usage == said.usage_normal
    uncounted, _ = await stream(said, (*stream_of(said, "hi", usage={}), SILENCE))
    assert uncounted[-1].reply.text == "hi"


async def test_a_server_that_sends_no_end_mark_and_whole_tool_calls_is_understood():
    """As Ollama and others do."""
    call = {"id": "c1", "function": {"name": "shopify_get_order", "arguments": "{}"}}
    twice = {"choices": [{"index": 0, "delta": {"tool_calls": [call, call]}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": OPENAI.usage()}
    deltas, _ = await stream(Dialect("local"), streamed(events(twice, last).rstrip()), request=WITH_TOOL)
    assert [call.name for call in deltas[-1].reply.tool_calls] == ["shopify.get_order"] * 2
    assert deltas[-1].reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(("finish", "expected"), [("max_tokens", "length"), ("model_context_window_exceeded", "length")])
async def test_anthropics_reasons_to_stop_are_ours(finish, expected):
    reply, _ = await complete(ANTHROPIC, answer(ANTHROPIC.whole("cut", finish=finish)))
    assert reply.finish_reason == expected


async def test_a_model_that_thought_until_its_limit_has_answered():
    """It is no empty answer: more room would help, another model might not."""
    reply, _ = await complete(OPENAI, answer(OPENAI.whole("", finish="length")))
    assert (reply.text, reply.finish_reason) == ("", "length")


RESPONSE = {
    "object": "response", "status": "completed", "error": None,
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "On its way."}]},
        {"type": "function_call", "call_id": "c1", "name": "shopify_get_order", "arguments": '{"order_id": "7"}'},
    ],
    "usage": {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 800}, "output_tokens": 100,
              "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 1100},
}  # fmt: skip


async def test_the_responses_api_is_spoken_where_a_model_needs_it():
    called = ChatMessage("assistant", "", (ToolCall("c0", "shopify.get_order", {}),))
    said = (*ASKED.messages, called, ChatMessage("tool", "{}", tool_call_id="c0"))
    request = ChatRequest("fast", said, tools=(ORDER,), output_schema={"type": "object"})
    reply, asked = await complete(RESPONSES, answer(RESPONSE), request=request)
    body = asked[0].body
    assert (asked[0].path, body["store"], body["max_output_tokens"]) == ("/v1/responses", False, 4096)
    assert body["input"][2:] == [
        {"type": "function_call", "call_id": "c0", "name": "shopify_get_order", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c0", "output": "{}"},
    ]
    assert body["text"]["format"]["type"] == "json_schema"
    assert (reply.text, reply.finish_reason, reply.usage) == ("On its way.", "tool_calls", Usage(1000, 800, 0, 100, 30))
    assert reply.tool_calls[0].name == "shopify.get_order"


async def test_the_responses_api_streams():
    pieces = [
        {"type": "response.created", "response": {}},
        {"type": "response.output_text.delta", "delta": "On its "},
        {"type": "response.output_text.delta", "delta": "way."},
        {"type": "response.completed", "response": RESPONSE},
    ]
    deltas, _ = await stream(RESPONSES, streamed(events(*pieces, named=True)), request=WITH_TOOL)
    assert [delta.text for delta in deltas if delta.text] == ["On its ", "way."]
    assert deltas[-1].reply.usage == Usage(1000, 800, 0, 100, 30)


@pytest.mark.parametrize(
    ("changes", "finish"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "refusal"),
        ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}, "refusal"),
    ],
)
async def test_the_responses_apis_reasons_to_stop_are_ours(changes, finish):
    reply, _ = await complete(RESPONSES, answer({**RESPONSE, **changes}))
    assert reply.finish_reason == finish


@either
async def test_a_proxy_of_the_environment_does_not_see_loopback_calls(said, monkeypatch):
    async with serving(answer({}, 500)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        reply, _ = await complete(said, answer(said.whole("direct")))
        assert not proxy.asked
    assert reply.text == "direct"


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=2), max_size=5), st.integers(1, 7), st.booleans()
)
def test_events_are_the_same_however_their_bytes_are_cut(sent, size, windows):
    raw = events(*sent).replace(b"\n", b"\r\n") if windows else events(*sent)
    reader = Events()
    heard = [event for at in range(0, len(raw), size) for event in reader.feed(raw[at : at + size])]
    assert [*heard, *reader.end()] == sent


@pytest.mark.parametrize("raw", [b"", b"{", b"<html>", b"\xff\xfe", b"[" * 100_000, b"nul"])
def test_bytes_that_are_no_json_are_refused(raw):
    with pytest.raises(Unreadable, match="not JSON") as refused:
        decoded(raw)
    assert refused.value.code == "bad_json"
