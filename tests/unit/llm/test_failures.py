"""Faults that no loopback server can show: what the HTTP layers raise for them, and what it means."""

from __future__ import annotations

import socket
import ssl
from types import SimpleNamespace

import aiohttp
import httpx2
import pytest

from connectors.llm.endpoint import Endpoint
from connectors.llm.failures import error_object, of_connection

WHERE = Endpoint("local", "http://127.0.0.1:1/v1")
KEY = SimpleNamespace(ssl=None, host="llm.example", port=443, is_ssl=True)


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")), "unreachable"),
        (aiohttp.ClientConnectorError(KEY, OSError(113, "No route to host")), "unreachable"),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("self-signed certificate")), "tls"),
        (aiohttp.ConnectionTimeoutError("Connection timeout"), "timeout_connect"),
        (aiohttp.ServerDisconnectedError(), "reset"),
        (aiohttp.ClientPayloadError("Response payload is not completed"), "reset"),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "reset"),
        (aiohttp.ClientResponseError(SimpleNamespace(real_url="x"), (), message="Invalid header"), "unreadable"),
        (httpx2.ConnectTimeout("late"), "timeout_connect"),
        (httpx2.ConnectError("no"), "unreachable"),
        (httpx2.ReadError("gone"), "reset"),
        (httpx2.DecodingError("bad gzip"), "unreadable"),
        (RuntimeError("?"), "unreadable"),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("wrapper", [httpx2.ConnectTimeout, httpx2.ConnectError, None])
def test_the_innermost_cause_says_what_happened(raised, code, wrapper):
    """The SDKs' adapters wrap whatever happens to a connection in the same errors."""
    if wrapper is not None and isinstance(raised, aiohttp.ClientError):
        outer = wrapper(str(raised))
        outer.__cause__ = raised
        raised = outer
    fault = of_connection(raised, WHERE)
    assert (fault.kind, fault.code) == ("try_next", code)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "a", "code": 1}}, "a"),
        ({"type": "error", "error": {"type": "t", "message": "a"}}, "a"),
        ({"message": "a"}, "a"),
        ({"error": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ({"detail": [{"loc": []}]}, ""),
        ({"detail": [{"loc": [], "msg": "a", "input": "secret"}, {"msg": "b"}]}, "a; b"),
        ({"error": {"message": {"deep": 1}}}, ""),
        ("a", "a"),
        (None, None),
        ([1], None),
        ({"error": None}, None),
    ],
    ids=str,
)
def test_the_providers_words_are_found_wherever_it_put_them(body, words):
    assert error_object(body).get("message") == words
