"""Kept connections: none costs a call because its other end has closed it, none is kept for longer than the endpoint does."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from agents.router.ports import ProviderFailure
from connectors.llm.connection import IDLE_HERE_S
from connectors.llm.headers import keep_alive
from tests.unit.llm.dialects import ASKED, BOTH, Dialect, provider_at
from tests.unit.llm.misbehaving import answer

either = pytest.mark.parametrize("said", BOTH, ids=["openai", "anthropic"])


@contextlib.asynccontextmanager
async def keeping(said: Dialect, *, answers: int, header: str = "") -> AsyncIterator[tuple[str, list[int]]]:
    """A server that gives so many answers on a connection, without saying so, and breaks it off when it is asked once more.

    Its URL, and how many requests each connection was used for.
    """
    used: list[int] = []
    tasks: set[asyncio.Task[None]] = set()
    whole = answer(said.whole()).replace(b"connection: close\r\n", f"{header}".encode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = len(used)
        used.append(0)
        with contextlib.suppress(EOFError, OSError), contextlib.closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(re.search(rb"content-length: *(\d+)", head)[1]))
                if used[mine] == answers:
                    return
                used[mine] += 1
                writer.write(whole)
                await writer.drain()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", used
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@either
async def test_a_kept_connection_that_is_gone_costs_no_call(said):
    async with keeping(said, answers=1) as (url, used), provider_at(url, said) as provider:
        for _ in range(8):
            assert (await provider.complete(said.model, ASKED)).text == "hi"
        assert sum(used) == 8, "nobody answered a call twice"
        assert provider._connection.idle_s < IDLE_HERE_S


@either
async def test_a_new_connection_that_is_broken_off_is_the_endpoints_failure(said):
    async with keeping(said, answers=0) as (url, used), provider_at(url, said) as provider:
        with pytest.raises(ProviderFailure) as failed:
            await provider.complete(said.model, ASKED)
        assert (failed.value.kind, failed.value.code, len(used)) == ("try_next", "reset", 1)


@either
async def test_a_connection_is_kept_no_longer_than_its_endpoint_says(said):
    async with (
        keeping(said, answers=9, header="keep-alive: timeout=2, max=100\r\n") as (url, used),
        provider_at(url, said) as provider,
    ):
        for _ in range(3):
            await provider.complete(said.model, ASKED)
        assert provider._connection.idle_s == 1.0
        assert sorted(used) == [1, 2], "those that are made from then on are kept"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("timeout=5", 5), ("max=7, Timeout=5", 5), ("", None), ("timeout=x", None), ("timeout=-1", None), ("max=3", None)],
)
def test_how_long_an_endpoint_keeps_a_connection(header, seconds):
    assert keep_alive({"keep-alive": header}) == seconds
