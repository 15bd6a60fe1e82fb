"""The switch that keeps tests from reaching real services. Off, only loopback may be called."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from agents.errors import Fatal

ALLOW_REAL_CALLS = True
"""Set to False in tests."""


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check(url: str) -> None:
    """Raises Fatal when `url` is not on this machine and real calls are forbidden."""
    if not ALLOW_REAL_CALLS and not is_loopback(url):
        host = urlsplit(url).hostname or url
        raise Fatal(
            f"calls to {host} are forbidden here: connectors.llm.guard.ALLOW_REAL_CALLS is False. Use a server on loopback."
        )
