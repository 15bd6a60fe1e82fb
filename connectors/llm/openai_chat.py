"""A ChatModel over any OpenAI-compatible endpoint. One try a call: whoever calls decides what to try next."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import openai
from openai.types.chat import ChatCompletion

from agents.errors import Fatal, NodeFailure, Retryable
from agents.ports import ChatReply, ChatRequest
from connectors.llm import guard, wire
from connectors.llm.profiles import LlmSettings, Model

_KEYS = re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_\-*]{4,}")
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds."""

    connect: float = 5.0
    read: float = 60.0
    total: float = 120.0


class OpenAIChat:
    """One client for the process; close it, or use it as an async context manager."""

    def __init__(
        self, settings: LlmSettings, *, patience: Patience | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._patience, self._clock = settings, patience or Patience(), clock
        endpoint = settings.endpoint
        limits = self._patience
        # A proxy from the environment would carry calls for this machine off it.
        self._http = openai.DefaultAsyncHttpxClient(
            trust_env=not guard.is_loopback(endpoint.base_url),
            timeout=openai.Timeout(limits.read, connect=limits.connect, pool=limits.total),
        )
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0, http_client=self._http
        )

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises Retryable for what may pass (429, 5xx, timeouts, connection), Fatal for what will not."""
        model = self._settings.model(request.profile)
        try:
            return await self._complete(request, model)
        except NodeFailure as failure:
            raise failure.at(model.provider, model.name) from failure.__cause__

    async def close(self) -> None:
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _complete(self, request: ChatRequest, model: Model) -> ChatReply:
        endpoint = self._settings.endpoint
        guard.check(endpoint.base_url)
        names = wire.names_of(request)
        limit_field = "max_completion_tokens" if endpoint.provider == "openai" else "max_tokens"
        arguments = wire.body(request, model, names, limit_field=limit_field)
        started = self._clock()
        who = f"model {model.wire} at {endpoint.base_url}"
        try:
            async with asyncio.timeout(self._patience.total):
                completion: ChatCompletion = await self._client.chat.completions.create(**arguments)
            spent = round((self._clock() - started) * 1000)
            return wire.reply(completion, model, names, request, latency_ms=spent)
        except (openai.APITimeoutError, TimeoutError) as error:
            raise Retryable(
                f"{who} did not answer in time ({self._patience.read:g} s without a byte, {self._patience.total:g} s in all)."
            ) from error
        except openai.APIConnectionError as error:
            raise Retryable(
                f"{who} cannot be reached ({_cause(error)}). Is it running, and is HIL_LLM_BASE_URL right?"
            ) from error
        except openai.APIStatusError as error:
            raise self._refused(error, who) from error
        except wire.Unreadable as error:
            raise Fatal(
                f"{who} answered, but not with a chat completion: {error}. "
                "Is HIL_LLM_BASE_URL an OpenAI-compatible endpoint? It usually ends in /v1."
            ) from error
        except (openai.OpenAIError, ValueError) as error:
            raise Retryable(f"{who} gave an answer that could not be read: {self._scrubbed(str(error))}") from error

    def _refused(self, error: openai.APIStatusError, who: str) -> NodeFailure:
        status, said = error.status_code, self._scrubbed(_message(error))
        if status == 429 and error.code != "insufficient_quota":
            wait = retry_after(error.response.headers.get("retry-after"), now=datetime.datetime.now(datetime.UTC))
            return Retryable(f"{who} asks for fewer requests (429): {said}", retry_after_seconds=wait)
        if status in (402, 429):
            return Fatal(f"{who}: the account has no credit left ({status}): {said} Add credit, or configure another endpoint.")
        if status in (401, 403):
            variable = self._settings.endpoint.key_variable
            return Fatal(f"{who} refused the key ({status}): {said} Set {variable} to a key that may use this model.")
        if status >= 500 or status in (408, 409, 425):
            wait = retry_after(error.response.headers.get("retry-after"), now=datetime.datetime.now(datetime.UTC))
            return Retryable(f"{who} failed ({status}): {said}", retry_after_seconds=wait)
        if error.code == "context_length_exceeded":
            return Fatal(
                f"{who}: the prompt is too long for it: {said} Choose a model_profile with a larger window, or say less."
            )
        if status == 404:
            return Fatal(
                f"{who} is not there (404): {said} Name one it has: HIL_MODEL_FAST, HIL_MODEL_BALANCED, HIL_MODEL_POWERFUL."
            )
        return Fatal(f"{who} refused the request ({status}): {said}")

    def _scrubbed(self, words: str) -> str:
        """Without keys: providers like to quote them."""
        key = self._settings.endpoint.api_key
        return _KEYS.sub("***", words.replace(key, "***") if len(key) > 3 else words)[:600]


def retry_after(header: str | None, *, now: datetime.datetime) -> float | None:
    """Seconds to wait from a Retry-After header (RFC 9110 10.2.3: seconds or a date), at most an hour; None when unreadable."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            due = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (due if due.tzinfo else due.replace(tzinfo=datetime.UTC)).timestamp() - now.timestamp()
    return min(max(seconds, 0.0), _LONGEST_WAIT) if seconds == seconds else None


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    inner = body.get("message") if isinstance(body, dict) else None
    words = inner if isinstance(inner, str) and inner else error.message
    return " ".join(str(words).split()) or "(no reason given)"


def _cause(error: BaseException) -> str:
    """The innermost reason of a failed connection."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
