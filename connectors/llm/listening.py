"""Reads a streamed answer piece by piece within its time limits. No limit ever spans a `yield`: the reader's time is its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, suppress

import httpx2

from connectors.llm.connection import LARGEST_ANSWER, Connection, TimedOut
from connectors.llm.reading import Unreadable, decoded
from connectors.llm.said import Listener
from connectors.llm.sse import Events

GRACE_S = 2.0
"""An answer that is whole waits so long for its usage, or the end of its connection."""
END_S = 0.1
"""An answer whose usage is known waits so long for the end of its body: only then can its connection be used again."""


async def listen(connection: Connection, path: str, content: bytes, listener: Listener) -> AsyncGenerator[str, None]:
    """The text each event adds, "" for one that adds none. Ends when the answer has; `listener` says whether it is whole.

    Raises TimedOut, Unreadable, and what the SDK and the HTTP layers raise.
    """
    patience, now = connection.patience, asyncio.get_running_loop().time
    last = now() + patience.total
    first = min(now() + patience.first_token, last)
    events = Events()
    async with AsyncExitStack() as stack:
        opening = asyncio.timeout_at(first)
        try:
            async with opening:
                response = await stack.enter_async_context(connection.opened(path, content))
        except TimeoutError:
            raise TimedOut("first_token" if first < last else "total") from None
        chunks = response.aiter_bytes()
        chunk: bytes | None = b""
        heard, grace = 0, last
        while chunk is not None:
            waiting, whole = not listener.written and first < last, listener.ended
            deadline = grace if whole else first if waiting else last
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                if not whole:
                    raise TimedOut("first_token" if waiting else "total") from None
                return
            except httpx2.TransportError:
                if not whole:
                    raise
                return
            for event in events.feed(chunk) if chunk is not None else events.end():
                yield listener.feed(event)
            if events.done or (listener.ended and listener.usage is not None):
                await _end(chunks)
                return
            heard += len(chunk or b"")
            if heard > LARGEST_ANSWER:
                raise Unreadable(f"it is longer than {LARGEST_ANSWER} bytes", code="too_large")
            if listener.ended and not whole:
                grace = min(now() + GRACE_S, last)
        if events.stray and not listener.ended:
            yield listener.feed(decoded(events.stray))  # an error, a web page, or the answer as a whole
            if not listener.ended:
                raise Unreadable("it is no stream of events")


async def _end(chunks: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(END_S):
            while await anext(chunks, None) is not None:
                pass
