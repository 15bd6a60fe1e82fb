"""What few endpoints do, and what is all the same an answer or has a meaning: no answer that is paid may be lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re

import aiohttp
import httpx2
import openai
import pytest

from agents.ports import ChatRequest
from agents.router.ports import ProviderFailure
from connectors.llm import listening
from connectors.llm.connection import LARGEST_REFUSAL, Connection
from connectors.llm.endpoint import Patience
from connectors.llm.sse import DONE, Events
from tests.unit.llm.dialects import ANTHROPIC, ASKED, BOTH, OPENAI, ORDER, Dialect, complete, provider_at, stream, stream_of
from tests.unit.llm.misbehaving import SILENCE, answer, events, streamed

either = pytest.mark.parametrize("said", BOTH, ids=["openai", "anthropic"])
ways = pytest.mark.parametrize("way", [complete, stream], ids=["whole", "streamed"])
SHORT = Patience(connect=1, first_token=1, total=1)
WITH_TOOL = ChatRequest("fast", ASKED.messages, tools=(ORDER,))


async def failing(way, said: Dialect, *script, **options) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as failed:
        await way(said, *script, **options)
    return failed.value


def test_lines_may_end_as_the_standard_allows_and_be_cut_anywhere():
    sent = b': hello\r\rdata: {"a": 1}\r\rid: 1\r\ndata: {"b": 2}\r\n\r\ndata: [DONE]\n\n'
    for size in range(1, len(sent)):
        read = Events()
        heard = [event for at in range(0, len(sent), size) for event in read.feed(sent[at : at + size])]
        assert heard == [{"a": 1}, {"b": 2}, DONE], size
        assert not read.stray


@either
async def test_an_error_instead_of_a_stream_means_what_its_status_would(said):
    body = said.error_body("slow down", "rate_limit_error")
    for sent in (answer(body), answer(json.dumps(body, indent=2).encode())):
        failure = await failing(stream, said, sent)
        assert (failure.kind, failure.code, failure.usage) == ("cool_down", "http_429", None)


@either
async def test_a_web_page_instead_of_a_stream_names_the_setting(said):
    failure = await failing(stream, said, answer(b"<html>\n<p>Sign in</p>\n</html>", content_type="text/html"))
    assert (failure.kind, failure.code, failure.usage) == ("try_next", "bad_json", None)
    assert "BASE_URL right?" in str(failure)


@either
async def test_a_whole_answer_instead_of_a_stream_is_an_answer_and_paid(said):
    deltas, _ = await stream(said, answer(said.whole()))
    whole, _ = await complete(said, answer(said.whole()))
    assert (deltas[-1].reply.text, deltas[-1].reply.usage) == (whole.text, said.usage_normal)
    assert "".join(delta.text for delta in deltas[:-1]) == whole.text


async def test_the_end_mark_ends_an_answer_that_gives_no_reason_to_finish():
    deltas, _ = await stream(Dialect("local"), streamed(OPENAI.piece("all"), events("[DONE]")))
    assert (deltas[-1].reply.text, deltas[-1].reply.finish_reason) == ("all", "stop")


async def test_anthropics_reason_to_stop_ends_an_answer_whose_last_event_is_lost():
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 100}}
    deltas, _ = await stream(ANTHROPIC, streamed(ANTHROPIC.opening(), ANTHROPIC.piece("all"), events(end, named=True)))
    assert (deltas[-1].reply.text, deltas[-1].reply.usage.output_text_tokens) == ("all", 100)


async def test_an_error_that_is_null_is_none():
    done = {"status": "completed", "output": [{"type": "message", "content": [{"type": "output_text", "text": "all"}]}]}
    said = [{"type": "response.created", "response": {}, "error": None}, {"type": "response.completed", "response": done}]
    deltas, _ = await stream(Dialect("openai", "o1-pro"), streamed(events(*said)))
    assert deltas[-1].reply.text == "all"


@pytest.mark.parametrize("number", [{}, {"index": None}, {"index": 0}], ids=["none", "null", "all alike"])
async def test_calls_that_are_not_numbered_apart_are_told_apart(number):
    def piece(raw: str, **first: str) -> bytes:
        name = {"name": "shopify_get_order"} if first else {}
        return events(
            {"choices": [{"index": 0, "delta": {"tool_calls": [{**number, **first, "function": {**name, "arguments": raw}}]}}]}
        )

    script = streamed(piece('{"order_id"', id="a"), piece(': "1"}'), piece('{"order_id": "2"}', id="b"), OPENAI.closing())
    deltas, _ = await stream(Dialect("local"), script, request=WITH_TOOL)
    calls = [(call.id, call.arguments) for call in deltas[-1].reply.tool_calls]
    assert calls == [("a", {"order_id": "1"}), ("b", {"order_id": "2"})]


async def test_arguments_sent_as_an_object_are_not_lost():
    call = {"id": "a", "type": "function", "function": {"name": "shopify_get_order", "arguments": {"order_id": "1"}}}
    body = {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    reply, _ = await complete(Dialect("local"), answer(body), request=WITH_TOOL)
    assert reply.tool_calls[0].arguments == {"order_id": "1"}


@ways
async def test_a_model_this_project_may_not_use_does_not_break_the_key(way):
    failure = await failing(way, OPENAI, OPENAI.error(403, "no access to the model", code="model_not_found"))
    assert (failure.kind, failure.code) == ("cool_down", "http_403")


async def test_anthropics_other_words_for_a_prompt_that_is_too_long():
    said = "input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000"
    assert (await failing(complete, ANTHROPIC, ANTHROPIC.error(400, said, "invalid_request_error"))).too_long


@ways
async def test_an_answer_that_is_no_http_answer_is_the_endpoints_fault(way):
    switching = b"HTTP/1.1 101 X\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n"
    failure = await failing(way, OPENAI, switching)
    assert (failure.kind, failure.code) == ("try_next", "http_101")


@either
@ways
async def test_a_refusal_without_end_is_cut_off_and_keeps_its_meaning(way, said):
    endless = (b"HTTP/1.1 503 X\r\nconnection: close\r\n\r\n", b"x" * LARGEST_REFUSAL, b"x", SILENCE)
    failure = await failing(way, said, endless, patience=SHORT)
    assert (failure.kind, failure.code) == ("try_next", "http_503")


async def test_a_stream_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(listening, "LARGEST_ANSWER", 2000)
    failure = await failing(stream, OPENAI, stream_of(OPENAI, *["word"] * 50))
    assert (failure.kind, failure.code) == ("try_next", "too_large")
    assert failure.usage.output_text_tokens > 0


@ways
async def test_a_request_that_never_left_is_sent_once_more(way, monkeypatch):
    """The server closed a kept connection in the moment it was used; what it was not sent, it cannot have done."""
    lost = [aiohttp.ClientConnectionResetError("Cannot write to closing transport")]
    posted = Connection._posted

    async def unlucky(self, client, path, content):
        if lost:
            raise openai.APIConnectionError(request=httpx2.Request("POST", "http://127.0.0.1/")) from lost.pop()
        return await posted(self, client, path, content)

    monkeypatch.setattr(Connection, "_posted", unlucky)
    _, asked = await way(OPENAI, answer(OPENAI.whole()) if way is complete else stream_of(OPENAI, "hi"))
    assert len(asked) == 1


@either
async def test_streamed_calls_use_one_connection(said):
    """A body that is not read to its end would cost a connection, and so a TLS handshake, for every call."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError), contextlib.closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(re.search(rb"content-length: *(\d+)", head)[1]))
                body = said.opening() + said.piece("hi") + said.closing()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n%b\r\n" % (len(body), body))
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with provider_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", said) as provider:
        for _ in range(3):
            assert [delta async for delta in provider.stream(said.model, ASKED)][-1].reply.text == "hi"
    server.close()
    await asyncio.gather(*tasks)
    await server.wait_closed()
    assert len(tasks) == 1
