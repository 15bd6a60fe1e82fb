"""What went wrong with one call, in the router's four classes: the one place that decides what a fault of a provider means."""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx2

from agents.router.ports import FailureKind
from connectors.llm.endpoint import Endpoint
from connectors.llm.headers import retry_after, wait_asked_for
from connectors.llm.reading import items, mapping, string

MISSING_MODEL_WAIT_S = 300.0
"""A model the endpoint does not have is not asked for again so soon. It may be on its way: local servers load models."""

_NO_CREDIT = {"insufficient_quota", "billing_error", "billing_hard_limit_reached", "credit_balance_too_low"}
_TOO_LONG = {"context_length_exceeded", "exceed_context_size_error", "request_too_large", "prompt_too_long"}
# Anthropic, vLLM and others give a prompt that is too long no code of its own: their words are all there is to know it by.
_TOO_LONG_WORDS = re.compile(
    r"(?:prompt|input|request) is too long|maximum context length|context (?:window|length|size|limit)"
    r"|(?:input|prompt) (?:text )?tokens? (?:count )?exceeds|exceeds the (?:maximum|available) (?:number of tokens|context)",
    re.I,
)
_NO_CREDIT_WORDS = re.compile(r"credit balance is too low", re.I)
_NO_MODEL = {"model_not_found", "deployment_not_found", "model_not_available", "model_deprecated"}
_NO_MODEL_WORDS = re.compile(
    r"\b(?:invalid|unknown|unsupported|no such|unrecognized) (?:model|deployment|engine)\b"
    r"|\b(?:model|deployment|engine)\b[^.]{0,120}?\b(?:not (?:be )?found|do(?:es)? not exist|is not (?:available|supported)"
    r"|is not a valid|not loaded|unknown|has been (?:retired|deprecated|decommissioned|removed|shut down)|no longer|pinned to)"
    r"|\bpinned to\b",
    re.I,
)
"""Endpoints say in every way, and with every status, that they do not have a model."""
_FLAGGED = {"content_filter", "content_policy_violation", "moderation", "moderation_error", "responsibleaipolicyviolation"}
_FLAGGED_WORDS = re.compile(
    r"\bflagged\b|\bmoderation\b|content (?:policy|filter|management)|usage polic|safety (?:system|filter)", re.I
)
_KEY = {"authentication_error", "invalid_api_key", "permission_error", "permission_denied", "unauthenticated", "access_denied"}
_KEY_WORDS = re.compile(
    r"\b(?:api[ _-]?key|key|token|credentials?|account|project|organi[sz]ation|permission|unauthori[sz]ed)\b", re.I
)

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
    "throttling_error": 429,
    "too_many_requests": 429,
    "resource_exhausted": 429,
    "unauthenticated": 401,
    "permission_denied": 403,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "not_found": 404,
    "deadline_exceeded": 504,
    "unavailable": 503,
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
    code, wait = f"http_{status}", wait_asked_for(headers) or _retry_delay(error)
    no_credit = bool(names & _NO_CREDIT) or (status == 400 and _NO_CREDIT_WORDS.search(said) is not None)
    if status == 402 or (no_credit and 400 <= status < 500):
        words = f": the account has no credit left ({status}): {_sentence(said)} Add credit, or configure another provider."
        return Fault("key_broken", "no_credit", words)
    if _has_no_model(status, names, said):
        words = f" is not there ({status}): {_sentence(said)} Name a model it has, or check {endpoint.url_variable}."
        return Fault("cool_down", code, words, MISSING_MODEL_WAIT_S)
    if names & _FLAGGED or (status in (400, 403, 451) and _FLAGGED_WORDS.search(said)):
        return Fault("callers_fault", "flagged", f" refused what it was asked as against its rules ({status}): {said}")
    if status == 401 or (status == 403 and error and (names & _KEY or _KEY_WORDS.search(said))):
        words = f" refused the key ({status}): {_sentence(said)} Set {endpoint.key_variable} to a key that may use this model."
        return Fault("key_broken", code, words)
    if status == 403:  # a firewall's page, a region: not the key's fault, nor the request's
        return Fault("try_next", code, f" forbids the request ({status}): {said}", wait)
    if status == 429:
        return Fault("cool_down", code, f" asks for fewer requests (429): {said}", wait)
    if 300 <= status < 400:
        words = f" sends elsewhere ({status}), which is not followed: set {endpoint.url_variable} to where it is."
        return Fault("try_next", code, words)
    if not 200 <= status < 500 or status in (408, 409, 425):
        return Fault("try_next", code, f" failed ({status}): {said}", wait)
    if status == 413 or names & _TOO_LONG or (status in (400, 422) and _TOO_LONG_WORDS.search(said)):
        words = f": the prompt is too long for it: {_sentence(said)} Choose a model_profile with a larger window, or say less."
        return Fault("callers_fault", "too_long", words, too_long=True)
    return Fault("callers_fault", code, f" refused the request ({status}): {said}")


def of_event(error: Mapping[str, Any], endpoint: Endpoint) -> Fault:
    """An error object inside an answer whose status was 200."""
    told = [error.get(name) for name in ("code", "status", "type")]
    numbers = (_status_number(each) for each in told)
    named = (_AS_STATUS.get(string(each).lower()) for each in told)
    found = (status for status in (*numbers, *named) if status)
    return of_status(next(found, 500), error, {}, endpoint)


def _has_no_model(status: int, names: set[str], said: str) -> bool:
    """Whether the model is not there, not any more, or not for this key's project."""
    if status == 404 or names & _NO_MODEL:
        return True
    return status in (400, 403, 405, 410, 422) and (status == 410 or _NO_MODEL_WORDS.search(said) is not None)


def _sentence(said: str) -> str:
    return said if said.rstrip().endswith((".", "!", "?", ")")) else f"{said.rstrip()}."


def _status_number(value: Any) -> int | None:
    """An HTTP status of a failure, as a number or as text."""
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600 else None


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


def hung_up(error: BaseException) -> bool:
    """Whether the other side closed the connection, or broke it off, before it answered anything."""
    gone = (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)
    return any(isinstance(cause, gone) for cause in _causes(error))


def error_in(answer: Any) -> Mapping[str, Any]:
    """The error object of a whole answer whose status was 200: its own, in a list, or its first choice's; empty without one."""
    if isinstance(answer, list):
        return error_object(answer)
    told = mapping(answer)
    if told.get("error") or (told.get("errors") and "choices" not in told):
        return error_object(told)
    choice = mapping(next(iter(items(told.get("choices"))), None))
    return error_object({"error": choice["error"]}) if choice.get("error") else {}


def error_object(body: Any) -> Mapping[str, Any]:
    """The provider's error object, wherever it put it: {"error": {…}}, {"error": "…"}, {"errors": […]}, a list of such,
    {"message": …}, {"detail": …} or text.

    A list of details (FastAPI's) is cut down to what each says is wrong: the rest of it quotes the request.
    """
    if isinstance(body, list):
        return next((found for found in map(error_object, body[:8]) if found), {})
    outer = mapping(body)
    inner = next((outer[name] for name in ("error", "errors") if name in outer), body)
    if isinstance(inner, str):
        return {**outer, "message": inner}
    if isinstance(inner, list):
        inner = next((each for each in inner if isinstance(each, dict)), {"message": "; ".join(map(str, inner[:8]))})
    found = mapping(inner)
    words = found.get("message") or found.get("detail")
    if isinstance(words, list):
        words = "; ".join(filter(None, (string(mapping(each).get("msg")) for each in words)))
    return {**found, "message": string(words)} if found else {}


def _retry_delay(error: Mapping[str, Any]) -> float | None:
    """Seconds to wait from an error's details (google.rpc.RetryInfo: `"retryDelay": "17s"`); None when they say nothing."""
    for detail in map(mapping, items(error.get("details"))):
        written = string(detail.get("retryDelay"))
        if written.endswith("s"):
            return retry_after(written[:-1], now=datetime.datetime.now(datetime.UTC))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """From the outermost to the innermost."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
