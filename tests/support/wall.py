"""Refuses connections to anything but this machine while tests run."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo
refused: list[str] = []
"""Hosts that were asked for; each is a fault of the test that ran, even if the code under test survives the refusal."""


class OutsideConnectionError(OSError):
    """A test tried to leave the machine."""


def is_here(host: object) -> bool:
    """Whether a host's name or address means this machine."""
    if host is None or host in ("", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


def check(host: object) -> None:
    if not is_here(host):
        refused.append(str(host))
        raise OutsideConnectionError(f"a test tried to reach {host!r}: tests reach nothing but loopback")


def raise_wall() -> None:
    """From here on, `socket` connects to loopback and Unix sockets alone."""

    def connect(self: socket.socket, target: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(target[0])
        _connect(self, target)

    def connect_ex(self: socket.socket, target: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(target[0])
        return _connect_ex(self, target)

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        check(host)
        return _getaddrinfo(host, *rest, **named)

    socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, connect_ex, getaddrinfo  # type: ignore[method-assign,assignment]
