"""One client of an SDK to one endpoint: sends a request, gives the answer's bytes. Authentication and errors are the SDK's.

Its parsing is not: an answer that is built into its models costs more than sending it. So requests go out through the SDK's
generic `post`, which is its documented way to undocumented endpoints, and over aiohttp, its supported faster transport.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anthropic
import httpx2
import openai

from connectors.llm import failures, guard, headers
from connectors.llm.endpoint import Endpoint, Patience
from connectors.llm.reading import Unreadable

LARGEST_ANSWER = 32 * 1024 * 1024
"""Bytes of a streamed answer, in which each token has some hundred around it."""
LARGEST_WHOLE = 8 * 1024 * 1024
"""Bytes of an answer that comes whole: ten times what the longest output of any model takes. It is read in one go."""
LARGEST_REFUSAL = 64 * 1024
"""Bytes of an answer with another status than 2xx that are read. The SDKs would read it to its end, if it has one."""
MOST_CONNECTIONS = 10_000
"""The engine bounds what is in flight; waiting here would only hide it."""
IDLE_S = 20.0
"""An idle connection is kept so long: less than hosted endpoints keep theirs, so that none is used in the moment it closes."""
IDLE_HERE_S = 4.0
"""The same without TLS, where a new one costs little: uvicorn and cpp-httplib close theirs after 5 s."""
SPARE_S = 1.0
"""So much sooner than an endpoint says it closes."""
FEW_LOSSES = 3
LOSSES_WITHIN_S = 60.0
AT_ONCE_S = 0.25
"""A kept connection that is gone breaks so soon after it was used. Later the endpoint had the request, and fails itself."""
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
        self.idle_s = IDLE_S if endpoint.base_url.lower().startswith("https:") else IDLE_HERE_S
        """How long an idle connection is kept. Shorter once the endpoint has said so, or has shown it."""
        self._clients = {self.idle_s: self._made(self.idle_s)}
        self._losses: deque[tuple[float, float]] = deque(maxlen=FEW_LOSSES)
        """The latest kept connections that were gone: when, and how long they had been idle."""
        self._last_used_s: float | None = None
        """When a connection last became free, on the loop's clock."""

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    async def ask(self, path: str, content: bytes) -> bytearray:
        """The whole answer. Raises TimedOut, Unreadable when it is too large, and what the SDK raises."""
        raw = bytearray()
        limit = asyncio.timeout(self.patience.total)
        try:
            async with limit, self.opened(path, content) as response:
                async for chunk in response.aiter_bytes():
                    raw += chunk
                    if len(raw) > LARGEST_WHOLE:
                        raise Unreadable(f"it is longer than {LARGEST_WHOLE} bytes", code="too_large")
        except TimeoutError:
            raise TimedOut("total") if limit.expired() else Unreadable("the connection timed out", code="reset") from None
        return raw

    @asynccontextmanager
    async def opened(self, path: str, content: bytes) -> AsyncIterator[httpx2.Response]:
        """An answer that has begun well, its body still to be read. Raises what the SDK raises. Sets no limit but `connect`."""
        if not self._here:
            guard.check(self.endpoint.base_url)
        response = await self._post(path, content)
        kept_s = headers.keep_alive(response.headers)
        if kept_s is not None:
            self._keep_for(max(0.0, kept_s - SPARE_S))
        try:
            yield response
        finally:
            self._last_used_s = asyncio.get_running_loop().time()
            await response.aclose()

    async def _post(self, path: str, content: bytes) -> httpx2.Response:
        """Once more, on a new connection, when a kept one was lost before the request was on its way, or as soon as it was used:
        its other end had closed it, so nobody has read the request."""
        now = asyncio.get_running_loop().time
        used_s, began_s = self._last_used_s, now()
        try:
            return await self._posted(self._clients[self.idle_s], path, content)
        except (anthropic.APIConnectionError, openai.APIConnectionError) as error:
            kept = used_s is not None and began_s - used_s <= self.idle_s
            if not failures.unsent(error) and not (kept and failures.hung_up(error) and now() - began_s < AT_ONCE_S):
                raise
        if used_s is not None:
            self._lost(began_s, began_s - used_s)
        return await self._posted(self._client_for(0.0), path, content)

    def _lost(self, now_s: float, idle_s: float) -> None:
        """A connection that had been idle so long was gone. Once is chance; an endpoint that does it often keeps none so long."""
        self._losses.append((now_s, idle_s))
        if len(self._losses) == FEW_LOSSES and now_s - self._losses[0][0] < LOSSES_WITHIN_S:
            self._keep_for(min(idle for _, idle in self._losses) / 2)

    def _keep_for(self, seconds: float) -> None:
        """Keep idle connections no longer than this from now on."""
        if seconds < self.idle_s:
            self.idle_s = 0.0 if seconds < SPARE_S / 10 else seconds
            self._client_for(self.idle_s)

    def _client_for(self, idle_s: float) -> openai.AsyncOpenAI | anthropic.AsyncAnthropic:
        """A client of an SDK keeps its connections as long as it was made for. Those of before end with what they are at."""
        if idle_s not in self._clients:
            self._clients[idle_s] = self._made(idle_s)
        return self._clients[idle_s]

    def _made(self, idle_s: float) -> openai.AsyncOpenAI | anthropic.AsyncAnthropic:
        make = _anthropic if self.endpoint.provider == "anthropic" else _openai
        return make(self.endpoint, self.patience, idle_s)

    async def _posted(self, client: openai.AsyncOpenAI | anthropic.AsyncAnthropic, path: str, content: bytes) -> httpx2.Response:
        """With cast_to=Response both SDKs hand out the response itself, unread because of `stream`."""
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


def _openai(endpoint: Endpoint, patience: Patience, idle_s: float) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        max_retries=0,
        http_client=openai.DefaultAioHttpClient(**_transport(endpoint, patience, idle_s)),
    )


def _anthropic(endpoint: Endpoint, patience: Patience, idle_s: float) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        max_retries=0,
        open_telemetry=False,
        # The SDK sends the key as a bearer token alone; gateways made for older ones look for it here, and so does Anthropic.
        default_headers={"anthropic-version": ANTHROPIC_VERSION, "x-api-key": endpoint.api_key},
        http_client=anthropic.DefaultAioHttpClient(**_transport(endpoint, patience, idle_s)),
    )


def _transport(endpoint: Endpoint, patience: Patience, idle_s: float) -> dict[str, Any]:
    return {
        # A proxy from the environment would carry calls for this machine off it.
        "trust_env": not guard.is_loopback(endpoint.base_url),
        # A redirect could lead off this machine, and would take Anthropic's key along.
        "follow_redirects": False,
        "event_hooks": {"response": [_bound]},
        "timeout": httpx2.Timeout(None, connect=patience.connect, pool=patience.connect),
        "limits": httpx2.Limits(
            max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS, keepalive_expiry=idle_s
        ),
    }
