"""Ports on loopback: a free one, or the configured one if nobody has it."""

from __future__ import annotations

import contextlib
import socket

from connectors.embedded.errors import EmbeddedError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Different ports that are free now. Another program may take one before it is used: be ready to choose again."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def require_free(port: int, variable: str, what: str) -> None:
    """Raise EmbeddedError if `port`, which `variable` asks for, is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be used
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise EmbeddedError(
                f"{what} cannot listen on {LOOPBACK}:{port} ({error.strerror}): stop what uses that port, set {variable} to "
                f"another one, or unset {variable} to have a free one chosen."
            ) from error
