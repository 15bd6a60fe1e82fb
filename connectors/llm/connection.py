"""One client of an SDK to one endpoint: sends a request, gives the answer's bytes. Authentication and errors are the SDK's.

Its parsing is not: an answer that is built into its models costs more than sending it. So requests go out through the SDK's
generic `post`, which is its documented way to undocumented endpoints, and over aiohttp, its supported faster transport.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anthropic
import httpx2
import openai

from connectors.llm import failures, guard
from connectors.llm.endpoint import Endpoint, Patience
from connectors.llm.reading import Unreadable

LARGEST_ANSWER = 32 * 1024 * 1024
LARGEST_REFUSAL = 64 * 1024
"""Bytes of an answer with another status than 2xx that are read. The SDKs would read it to its end, if it has one."""
MOST_CONNECTIONS = 10_000
"""The engine bounds what is in flight; waiting here would only hide it."""
IDLE_S = 20.0
"""An idle connection is kept so long: less than endpoints keep theirs, so that none is used in the moment it closes."""
ANTHROPIC_VERSION = "2023-06-01"
"""Of Anthropic's wire. The next one, 2026-10-21, refuses a temperature for every model; workflows may name one."""
_JSON = {"content-type": "application/json"}


class TimedOut(Exception):
    """`limit`: first_token or total."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class Connection:
    def __init__(self, endpoint: Endpoint, patience: Patience) -> None:
        for chatty in ("openai", "anthropic", "httpx2"):
            # Below this they write down requests, which are customers' words, and headers, which may quote the key.
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self.endpoint, self.patience = endpoint, patience
        self._here = guard.is_loopback(endpoint.base_url)
        self._client = _anthropic(endpoint, patience) if endpoint.provider == "anthropic" else _openai(endpoint, patience)

    async def close(self) -> None:
        await self._client.close()

    async def ask(self, path: str, content: bytes) -> bytearray:
        """The whole answer. Raises TimedOut, Unreadable when it is too large, and what the SDK raises."""
        raw = bytearray()
        limit = asyncio.timeout(self.patience.total)
        try:
            async with limit, self.opened(path, content) as response:
                async for chunk in response.aiter_bytes():
                    raw += chunk
                    if len(raw) > LARGEST_ANSWER:
                        raise Unreadable(f"it is longer than {LARGEST_ANSWER} bytes", code="too_large")
        except TimeoutError:
            raise TimedOut("total") if limit.expired() else Unreadable("the connection timed out", code="reset") from None
        return raw

    @asynccontextmanager
    async def opened(self, path: str, content: bytes) -> AsyncIterator[httpx2.Response]:
        """An answer that has begun well, its body still to be read. Raises what the SDK raises. Sets no limit but `connect`."""
        if not self._here:
            guard.check(self.endpoint.base_url)
        response = await self._post(path, content)
        try:
            yield response
        finally:
            await response.aclose()

    async def _post(self, path: str, content: bytes) -> httpx2.Response:
        """Once more, on another connection, when a kept one was closed before the request was on its way: nobody has read it."""
        try:
            return await self._posted(path, content)
        except (anthropic.APIConnectionError, openai.APIConnectionError) as error:
            if not failures.unsent(error):
                raise
        return await self._posted(path, content)

    async def _posted(self, path: str, content: bytes) -> httpx2.Response:
        """With cast_to=Response both SDKs hand out the response itself, unread because of `stream`."""
        client = self._client
        got: object
        if isinstance(client, anthropic.AsyncAnthropic):
            got = await client.post(
                path,
                cast_to=httpx2.Response,
                content=content,
                options={"headers": _JSON},
                stream=True,
                stream_cls=anthropic.AsyncStream[object],
            )
        else:
            got = await client.post(
                path,
                cast_to=httpx2.Response,
                content=content,
                options={"headers": _JSON},
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
        return cast("httpx2.Response", got)


class _Beginning(httpx2.AsyncByteStream):
    """The first LARGEST_REFUSAL bytes of a body."""

    def __init__(self, whole: httpx2.AsyncByteStream) -> None:
        self._whole = whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LARGEST_REFUSAL
        async for chunk in self._whole:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._whole.aclose()


async def _bound(response: httpx2.Response) -> None:
    if not response.is_success and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Beginning(response.stream)


def _openai(endpoint: Endpoint, patience: Patience) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        max_retries=0,
        http_client=openai.DefaultAioHttpClient(**_transport(endpoint, patience)),
    )


def _anthropic(endpoint: Endpoint, patience: Patience) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        max_retries=0,
        open_telemetry=False,
        # The SDK sends the key as a bearer token alone; gateways made for older ones look for it here, and so does Anthropic.
        default_headers={"anthropic-version": ANTHROPIC_VERSION, "x-api-key": endpoint.api_key},
        http_client=anthropic.DefaultAioHttpClient(**_transport(endpoint, patience)),
    )


def _transport(endpoint: Endpoint, patience: Patience) -> dict[str, Any]:
    return {
        # A proxy from the environment would carry calls for this machine off it.
        "trust_env": not guard.is_loopback(endpoint.base_url),
        # A redirect could lead off this machine, and would take Anthropic's key along.
        "follow_redirects": False,
        "event_hooks": {"response": [_bound]},
        "timeout": httpx2.Timeout(None, connect=patience.connect, pool=patience.connect),
        "limits": httpx2.Limits(
            max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS, keepalive_expiry=IDLE_S
        ),
    }
