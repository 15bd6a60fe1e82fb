"""A loopback HTTP server that answers byte for byte what a test tells it to, or drips, falls silent, hangs up, breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

SILENCE = object()
"""Never answers."""
HANG_UP = object()
"""Closes the connection without a byte; in a sequence, cleanly."""
RESET = object()
"""Breaks the connection off, so that the other side sees a reset."""


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Server:
    url: str
    asked: list[Asked] = field(default_factory=list)


def answer(body: Any, status: int = 200, **headers: str) -> bytes:
    """An HTTP response; `body` as JSON unless it is bytes."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items())]
    lines += [f"content-length: {len(payload)}", "connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + payload


def events(*data: Any, named: bool = False) -> bytes:
    """Server-sent events; with their type as name, as Anthropic sends them."""
    lines = []
    for each in data:
        name = f"event: {each['type']}\n" if named and isinstance(each, dict) else ""
        lines.append(f"{name}data: {each if isinstance(each, str) else json.dumps(each)}\n\n")
    return "".join(lines).encode()


def streamed(*pieces: Any) -> tuple[Any, ...]:
    """A 200 whose body is sent piece by piece and ends with the connection. A float waits so many seconds."""
    return (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n", *pieces)


@contextlib.asynccontextmanager
async def serving(*script: Any | Callable[[Asked], Any]) -> AsyncIterator[Server]:
    """Answers in order; the last one again and again. A callable is given the request."""
    made = Server("")
    answers = list(script)
    over = asyncio.Event()
    busy: set[asyncio.Task[None]] = set()

    async def say(said: Any, writer: asyncio.StreamWriter) -> None:
        if said is SILENCE:
            await over.wait()
        elif said is RESET:
            writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif isinstance(said, float):
            await asyncio.sleep(said)
        elif isinstance(said, tuple):
            for piece in said:
                await say(piece, writer)
        elif said is not HANG_UP:
            writer.write(said)
            await writer.drain()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            raw = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = head[0].split(" ", 2)
            asked = Asked(method, path, headers, json.loads(raw) if raw else None)
            made.asked.append(asked)
            said = answers.pop(0) if len(answers) > 1 else answers[0]
            said = said(asked) if callable(said) else said
            await say(said, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(handle(reader, writer))
        busy.add(task)
        task.add_done_callback(busy.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        over.set()
        server.close()
        for task in tuple(busy):
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await server.wait_closed()


async def closed_port() -> str:
    """The URL of a port where nobody listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}"
