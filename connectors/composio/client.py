"""Composio's API v3.1 as we use it: lists and executes tools, and says of every failure whether the tool may have acted."""

from __future__ import annotations

import asyncio
import datetime
import importlib.metadata
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import composio_client
import httpx

from agents.errors import Fatal, Retryable
from agents.jsonable import NotJson, plain
from connectors.llm import guard
from connectors.llm.headers import retry_after
from connectors.llm.secrets import Secrets
from schemas.shown import masked

log = logging.getLogger(__name__)

COMPOSIO_URL = "https://backend.composio.dev"
CATALOGUE_SECONDS = 600.0
PAGE = 500
READING = re.compile(r"(get|list|search|fetch|find|read|retrieve|lookup|count|check|view|describe)(_|$)")
"""Actions whose name says that they only read, for tools that carry no hints."""


@dataclass(frozen=True, slots=True)
class RemoteTool:
    """One action of an app, as Composio describes it."""

    name: str
    """`app.action`"""
    slug: str
    """Composio's name: `APP_ACTION`."""
    description: str
    parameters: Mapping[str, Any]
    idempotent: bool
    no_auth: bool = False
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Executed:
    """Composio carried the call to the tool; `successful` is the tool's own word."""

    successful: bool
    data: Any
    error: str | None


class NotDone(Exception):
    """The call failed and nothing was done. `final`: a repeat would fail too."""

    def __init__(self, message: str, *, final: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.final, self.retry_after_seconds = final, retry_after_seconds


class KeyRefused(NotDone):
    """The API key was refused: nothing will work until it is changed."""


class InDoubt(Exception):
    """The call failed after it was sent: nobody knows whether the tool acted."""


@dataclass(frozen=True, slots=True)
class ComposioSettings:
    base_url: str
    api_key: str = field(repr=False)
    read_seconds: float = 60.0
    total_seconds: float = 120.0


def configure(environ: Mapping[str, str], *, shop_url: str | None = None) -> ComposioSettings | None:
    """HIL_COMPOSIO_BASE_URL and COMPOSIO_API_KEY, else the toy shop, else None: no tools."""
    url, key = environ.get("HIL_COMPOSIO_BASE_URL", "").strip(), environ.get("COMPOSIO_API_KEY", "").strip()
    if url or key:
        return ComposioSettings(url or COMPOSIO_URL, key or "no-key")
    return ComposioSettings(shop_url, "toy-shop") if shop_url else None


class ComposioClient:
    """One client for the process; close it, or use it as an async context manager. One try a call."""

    def __init__(self, settings: ComposioSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        warn_of_old_package()
        self._settings, self._clock = settings, clock
        timeout = httpx.Timeout(settings.read_seconds, connect=5.0, pool=settings.total_seconds)
        # A proxy from the environment would carry calls for this machine off it.
        self._http = httpx.AsyncClient(timeout=timeout, trust_env=not guard.is_loopback(settings.base_url))
        self._client = composio_client.AsyncComposio(
            auth=composio_client.ProjectAuth(settings.api_key),
            base_url=settings.base_url,
            timeout=timeout,
            max_retries=0,
            http_client=self._http,
        )
        self._secrets = Secrets(settings.api_key)
        self._known: dict[str, tuple[float, dict[str, RemoteTool]]] = {}
        self._listing: dict[str, asyncio.Lock] = {}

    async def tools(self, app: str) -> Mapping[str, RemoteTool]:
        """The tools of an app by name, empty for an app nobody knows. Kept for ten minutes. Raises Retryable or Fatal."""
        async with self._listing.setdefault(app, asyncio.Lock()):
            at, known = self._known.get(app, (-math.inf, {}))
            if known and self._clock() - at < CATALOGUE_SECONDS:
                return known
            try:
                found = await self._list(app)
            except NotDone as error:
                if known:  # an old list is better than none
                    log.warning("the tools of %s could not be listed again; using the list of earlier: %s", app, error)
                    return known
                failure = f"the tools of {app} could not be listed: {error}"
                if error.final:
                    raise Fatal(failure) from error
                raise Retryable(failure, retry_after_seconds=error.retry_after_seconds) from error
            self._known[app] = (self._clock(), found)
            return found

    async def execute(self, tool: RemoteTool, arguments: Mapping[str, Any], *, entity_id: str) -> Executed:
        """Raises NotDone, or InDoubt when the request was sent and its outcome is unknown."""
        guard.check(self._settings.base_url)
        try:
            async with asyncio.timeout(self._settings.total_seconds):
                answer = await self._client.tools.execute(
                    tool.slug, arguments=dict(arguments), user_id=entity_id, version=tool.version or composio_client.omit
                )
        except (composio_client.ComposioError, TimeoutError, httpx.HTTPError) as error:
            raise self._failure(error) from error
        successful = getattr(answer, "successful", None)
        if not isinstance(successful, bool):
            raise InDoubt(f"Composio answered {tool.slug} with something that does not say whether it succeeded")
        try:
            data = plain(getattr(answer, "data", None))
        except NotJson as error:
            data = {"unreadable": str(error)}
        said = getattr(answer, "error", None)
        return Executed(successful, data, None if said is None else str(said)[:2000])

    async def close(self) -> None:
        await self._client.close()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _list(self, app: str) -> dict[str, RemoteTool]:
        guard.check(self._settings.base_url)
        found: dict[str, RemoteTool] = {}
        cursor: str | None = None
        for _ in range(20):
            try:
                async with asyncio.timeout(self._settings.total_seconds):
                    page = await self._client.tools.list(toolkit_slug=app, limit=PAGE, cursor=cursor or composio_client.omit)
            except composio_client.NotFoundError:
                return found
            except (composio_client.ComposioError, TimeoutError, httpx.HTTPError) as error:
                failure = self._failure(error)
                raise failure if isinstance(failure, NotDone) else NotDone(str(failure)) from error
            for item in getattr(page, "items", None) or ():
                tool = remote_tool(app, item)
                if tool is not None:
                    found[tool.name] = tool
            cursor = getattr(page, "next_cursor", None)
            if not cursor:
                break
        return found

    def _failure(self, error: Exception) -> NotDone | InDoubt:
        where = masked(f"Composio at {self._settings.base_url}")
        cause = error.__cause__ or error
        why = self._secrets.out_of(str(cause)) or type(cause).__name__
        if isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
            return NotDone(f"{where} cannot be reached ({why})")
        if isinstance(error, composio_client.APIStatusError):
            status, said = error.status_code, self._secrets.out_of(str(error))
            if status in (401, 403):
                return KeyRefused(f"{where} refused the key ({said}). Set COMPOSIO_API_KEY to one of your project", final=True)
            if status == 429:
                wait = retry_after(error.response.headers.get("retry-after"), now=datetime.datetime.now(datetime.UTC))
                return NotDone(f"{where} asks for fewer requests ({said})", retry_after_seconds=wait)
            return NotDone(said, final=True) if status < 500 and status != 408 else InDoubt(f"{where} failed ({said})")
        if isinstance(error, (composio_client.APITimeoutError, TimeoutError)):
            return InDoubt(f"{where} did not answer in time")
        return InDoubt(f"{where}: the connection broke before its answer was read ({why})")


def remote_tool(app: str, item: Any) -> RemoteTool | None:
    """A tool from one item of Composio's list; None for a deprecated one or one without a name."""
    slug = getattr(item, "slug", None)
    if not isinstance(slug, str) or not slug or getattr(item, "is_deprecated", False) is True:
        return None
    prefix = f"{app}_".upper().replace("-", "_")
    action = slug.upper().removeprefix(prefix).lower()
    parameters = getattr(item, "input_parameters", None)
    tags = {tag for tag in getattr(item, "tags", None) or () if isinstance(tag, str)}
    version = getattr(item, "version", None)
    return RemoteTool(
        name=f"{app}.{action}",
        slug=slug,
        description=str(getattr(item, "description", "") or ""),
        parameters=parameters if isinstance(parameters, dict) else {"type": "object", "properties": {}},
        idempotent=is_idempotent(action, tags),
        no_auth=getattr(item, "no_auth", False) is True,
        version=version if isinstance(version, str) else None,
    )


def is_idempotent(action: str, tags: set[str]) -> bool:
    """By Composio's hints; by the name for a tool that carries none."""
    hints = {tag for tag in tags if tag.endswith("Hint")}
    if hints:
        return bool(hints & {"readOnlyHint", "idempotentHint"})
    return READING.match(action) is not None


def warn_of_old_package() -> None:
    """composio-core talks to an API that was shut down on 2026-06-04; say how to move on."""
    try:
        importlib.metadata.version("composio-core")
    except importlib.metadata.PackageNotFoundError:
        return
    log.warning(
        "composio-core is installed; the API it talks to was shut down on 2026-06-04. HIL Agents uses composio-client instead. "
        "Run `pip uninstall composio-core`, replace `from composio import ComposioToolSet` in your own code by the package "
        "`composio`, and keep COMPOSIO_API_KEY: connected accounts stay."
    )
