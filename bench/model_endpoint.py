"""A model endpoint that costs next to nothing: `python -m bench.model_endpoint SECONDS` answers every call so much later.

OpenAI's and Anthropic's wire, whole or streamed. Its own process, so that a caller's CPU is the caller's alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from bench.stage import say_ready, until_end_of_input

PIECES = 20
WORDS = "Your order is on its way and will be there soon. "
TEXT = WORDS * PIECES
USED = {"prompt_tokens": 500, "completion_tokens": 200, "total_tokens": 700, "prompt_tokens_details": {"cached_tokens": 128}}
USED_ANTHROPIC = {"input_tokens": 372, "cache_read_input_tokens": 128, "output_tokens": 200}


def _chunk(**choice: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, **choice}]}


def _sse(events: Sequence[Any], *, named: bool) -> bytes:
    lines = (f"event: {each['type']}\n" if named and isinstance(each, dict) else "" for each in events)
    data = (each if isinstance(each, str) else json.dumps(each) for each in events)
    return "".join(f"{line}data: {body}\n\n" for line, body in zip(lines, data, strict=True)).encode()


CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "usage": USED,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT, "refusal": None}}],
}  # fmt: skip
CHAT_STREAM = [
    _chunk(delta={"role": "assistant", "content": ""}, finish_reason=None),
    *[_chunk(delta={"content": WORDS}, finish_reason=None)] * PIECES,
    _chunk(delta={}, finish_reason="stop"),
    {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USED},
    "[DONE]",
]
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "usage": USED_ANTHROPIC,
    "content": [{"type": "text", "text": TEXT}],
}  # fmt: skip
MESSAGE_STREAM = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *[{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORDS}}] * PIECES,
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 200}},
    {"type": "message_stop"},
]


def _answer(body: bytes, kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


ANSWERS = {
    ("chat", False): _answer(json.dumps(CHAT).encode(), "application/json"),
    ("chat", True): _answer(_sse(CHAT_STREAM, named=False), "text/event-stream"),
    ("messages", False): _answer(json.dumps(MESSAGE).encode(), "application/json"),
    ("messages", True): _answer(_sse(MESSAGE_STREAM, named=True), "text/event-stream"),
}


class Endpoint(asyncio.Protocol):
    """One connection: requests one after the other, each answered `seconds` after its last byte."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._heard = seconds, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, gap, rest = self._heard.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if not gap or len(rest) < length:
            return
        self._heard = rest[length:]
        said = ANSWERS["messages" if b"/messages" in head[:60] else "chat", b'"stream":true' in rest]
        asyncio.get_running_loop().call_later(self._seconds, self._say, said)

    def _say(self, said: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(said)


async def main(seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Endpoint(seconds), "127.0.0.1", 0, backlog=2048)
    async with server:
        say_ready(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await until_end_of_input()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
