"""The rehearsal endpoint as real clients meet it: the `openai` SDK, garbage, and the process that serves both parts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from connectors.rehearsal.server import serve_rehearsal

TOOL = {
    "type": "function",
    "function": {
        "name": "get_order",
        "description": "Look up an order",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    },
}
ASKED = [{"role": "user", "content": "Where is the order?\n<message>order 1002 please</message>"}]


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    server, url = await serve_rehearsal()
    yield url
    await server.close()


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0, timeout=30) as made:
        yield made


async def test_the_sdk_reads_a_completion_and_who_made_it(client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="gpt-4", messages=ASKED)
    completion = raw.parse()
    assert raw.headers["x-rehearsal-model"] == "deterministic stand-in, not a language model"
    assert completion.model == "rehearsal-1"
    assert completion.system_fingerprint == "fp_rehearsal_stand_in"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 20
    assert [model.id async for model in client.models.list()] == ["rehearsal-1", "rehearsal-embedding-256"]


async def test_the_same_request_gets_the_same_answer(client: openai.AsyncOpenAI) -> None:
    one, two = [await client.chat.completions.create(model="m", messages=ASKED, tools=[TOOL]) for _ in range(2)]
    assert one.choices == two.choices
    assert one.usage == two.usage
    assert one.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("tools", [[], [TOOL]], ids=["text", "tools"])
async def test_a_stream_says_what_the_whole_answer_says(client: openai.AsyncOpenAI, tools: list[object]) -> None:
    more = {"tools": tools} if tools else {}
    whole = await client.chat.completions.create(model="m", messages=ASKED, **more)
    stream = await client.chat.completions.create(
        model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}, **more
    )
    parts = [part async for part in stream]
    deltas = [part.choices[0].delta for part in parts if part.choices]
    assert "".join(delta.content or "" for delta in deltas) == (whole.choices[0].message.content or "")
    called = [call.function.arguments for delta in deltas for call in delta.tool_calls or ()]
    assert called == [call.function.arguments for call in whole.choices[0].message.tool_calls or ()]
    assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == whole.choices[0].finish_reason
    assert parts[-1].usage == whole.usage


async def test_embeddings_are_256_numbers_of_unit_length(client: openai.AsyncOpenAI) -> None:
    made = await client.embeddings.create(model="m", input=["where is my order", "order status"])
    assert [len(each.embedding) for each in made.data] == [256, 256]
    assert abs(sum(x * x for x in made.data[0].embedding) - 1) < 1e-4
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model="m", input="x", dimensions=8)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 50_000,
        b"{}",
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": "hi"}',
        b'{"model": "m", "messages": [{"role": "wizard", "content": "hi"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": 5}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 2}',
        b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 0}',
        b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "x"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "response_format": {"type": "xml"}}',
        b'{"model": "m", "messages": [{"role": "user", "content": "hi"}],'
        b' "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 3}}}}',
    ],
)
async def test_garbage_is_a_400_in_openais_shape(base_url: str, body: bytes) -> None:
    async with httpx.AsyncClient(base_url=base_url) as http:
        answer = await http.post("/chat/completions", content=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.json()["error"]["message"]
        assert (await http.get("/models")).status_code == 200


async def test_unknown_paths_are_errors_in_openais_shape_too(base_url: str) -> None:
    async with httpx.AsyncClient(base_url=base_url) as http:
        assert (await http.post("/completions", json={})).json()["error"]["code"] == "unknown_url"


async def test_a_port_that_is_taken_is_said() -> None:
    server, _ = await serve_rehearsal()
    try:
        with pytest.raises(OSError, match=f"port {server.port} .* is not free"):
            await serve_rehearsal(server.port)
    finally:
        await server.close()


@pytest.mark.parametrize("ending", ["parent", "signal"])
async def test_one_process_serves_both_and_ends_with_its_parent_or_when_told(ending: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "connectors.rehearsal", "--json", "--with-parent"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        addresses = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{addresses['llm_base_url']}/models")).status_code == 200
            assert (await http.get(f"{addresses['composio_base_url']}/shop/orders")).status_code == 200
        if ending == "signal":
            process.terminate()
        else:
            process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.stdin.close()
