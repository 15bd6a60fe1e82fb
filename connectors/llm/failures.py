"""What went wrong with one call, in the router's four classes: the one place that decides what a fault of a provider means."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx2

from agents.router.ports import FailureKind
from connectors.llm.endpoint import Endpoint
from connectors.llm.headers import wait_asked_for
from connectors.llm.reading import mapping, string

MISSING_MODEL_WAIT_S = 300.0
"""A model the endpoint does not have is not asked for again so soon. It may be on its way: local servers load models."""

_NO_CREDIT = {"insufficient_quota", "billing_error", "billing_hard_limit_reached", "credit_balance_too_low"}
_TOO_LONG = {"context_length_exceeded", "exceed_context_size_error", "request_too_large", "prompt_too_long"}
# Anthropic, vLLM and others give a prompt that is too long no code of its own: their words are all there is to know it by.
_TOO_LONG_WORDS = re.compile(
    r"(?:prompt|input|request) is too long|maximum context length|context (?:window|length|size|limit)", re.I
)
_NO_CREDIT_WORDS = re.compile(r"credit balance is too low", re.I)

_AS_STATUS = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "billing_error": 402,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "timeout_error": 504,
}
"""For an error that comes inside an answer that began well: what its status would have been."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`words` goes on after the endpoint's name; it is not scrubbed yet."""

    kind: FailureKind
    code: str
    words: str
    retry_after_s: float | None = None
    too_long: bool = False


def of_status(status: int, error: Mapping[str, Any], headers: Mapping[str, str], endpoint: Endpoint) -> Fault:
    """`error`: the provider's error object, empty when it sent something else."""
    names = {string(error.get("code")), string(error.get("type"))}
    said = string(error.get("message")) or "(no reason given)"
    code, wait = f"http_{status}", wait_asked_for(headers)
    no_credit = bool(names & _NO_CREDIT) or (status == 400 and _NO_CREDIT_WORDS.search(said) is not None)
    if status == 402 or (no_credit and 400 <= status < 500):
        words = f": the account has no credit left ({status}): {said} Add credit, or configure another provider."
        return Fault("key_broken", "no_credit", words)
    if status == 404 or (status == 403 and "model_not_found" in names):  # OpenAI's 403: not in this project
        words = f" is not there ({status}): {said} Name a model it has, or check {endpoint.url_variable}."
        return Fault("cool_down", code, words, MISSING_MODEL_WAIT_S)
    if status in (401, 403):
        words = f" refused the key ({status}): {said} Set {endpoint.key_variable} to a key that may use this model."
        return Fault("key_broken", code, words)
    if status == 429:
        return Fault("cool_down", code, f" asks for fewer requests (429): {said}", wait)
    if 300 <= status < 400:
        words = f" sends elsewhere ({status}), which is not followed: set {endpoint.url_variable} to where it is."
        return Fault("try_next", code, words)
    if not 200 <= status < 500 or status in (408, 409, 425):
        return Fault("try_next", code, f" failed ({status}): {said}", wait)
    if status == 413 or names & _TOO_LONG or (status in (400, 422) and _TOO_LONG_WORDS.search(said)):
        words = f": the prompt is too long for it: {said} Choose a model_profile with a larger window, or say less."
        return Fault("callers_fault", "too_long", words, too_long=True)
    return Fault("callers_fault", code, f" refused the request ({status}): {said}")


def of_event(error: Mapping[str, Any], endpoint: Endpoint) -> Fault:
    """An error object inside an answer whose status was 200."""
    number = error.get("code")
    if isinstance(number, int) and 400 <= number < 600:
        return of_status(number, error, {}, endpoint)
    named = (_AS_STATUS.get(string(error.get(name))) for name in ("code", "type"))
    return of_status(next((status for status in named if status), 500), error, {}, endpoint)


def of_connection(error: BaseException, endpoint: Endpoint) -> Fault:
    """Anything the HTTP layers raise. aiohttp is asked first: the SDKs' adapters name its errors differently, and roughly."""
    causes = list(_causes(error))
    why = str(causes[-1]) or type(causes[-1]).__name__
    native = [cause for cause in causes if isinstance(cause, aiohttp.ClientError)]
    found = native or causes

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in found)

    if among(aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
        return Fault("try_next", "timeout_connect", f" could not be connected to in time. Is {endpoint.url_variable} right?")
    if any(isinstance(cause, ssl.SSLError | aiohttp.ClientSSLError) for cause in causes):
        return Fault("try_next", "tls", f" has no certificate that can be trusted ({why}).")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Fault("try_next", "refused", f" cannot be reached ({why}). Is it running, and is {endpoint.url_variable} right?")
    if among(aiohttp.ClientConnectorError, httpx2.ConnectError):
        return Fault("try_next", "unreachable", f" cannot be reached ({why}). Is {endpoint.url_variable} right?")
    if among(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, httpx2.NetworkError, httpx2.TimeoutException, OSError):
        return Fault("try_next", "reset", f" broke the connection off ({why}).")
    return Fault("try_next", "unreadable", f" gave an answer that could not be read ({type(causes[-1]).__name__}: {why}).")


def unsent(error: BaseException) -> bool:
    """Whether the connection was closed by the other side before the request was written to it, so that nobody acts on it."""
    return any(isinstance(cause, aiohttp.ClientConnectionResetError) for cause in _causes(error))


def error_object(body: Any) -> Mapping[str, Any]:
    """The provider's error object, wherever it put it: {"error": {…}}, {"error": "…"}, {"message": …}, {"detail": …} or text.

    A list of details (FastAPI's) is cut down to what each says is wrong: the rest of it quotes the request.
    """
    outer = mapping(body)
    inner = outer.get("error", body)
    if isinstance(inner, str):
        return {"message": inner}
    found = mapping(inner)
    words = found.get("message") or found.get("detail")
    if isinstance(words, list):
        words = "; ".join(filter(None, (string(mapping(each).get("msg")) for each in words)))
    return {**found, "message": string(words)} if found else {}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """From the outermost to the innermost."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
