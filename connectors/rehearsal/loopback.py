"""Serves an ASGI application on loopback inside the caller's event loop. It binds no other interface."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens and leaves the process's signals to their owner."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True, eq=False)
class LoopbackServer:
    """A running server. `close()` answers what it has accepted, then frees the port."""

    port: int
    _server: _Server
    _task: asyncio.Task[None]

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`, without a path."""
        return f"http://{LOOPBACK}:{self.port}"

    async def close(self) -> None:
        self._server.should_exit = True
        await self._task


async def serve(app: ASGIApp, *, port: int = 0) -> LoopbackServer:
    """Listen on `port` of 127.0.0.1 (0: a free one) and return once connections are accepted.

    Raises OSError when the port is taken.
    """
    # asyncio turns Nagle's algorithm off (40 ms a response) only on sockets that name their protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"port {port} of {LOOPBACK} is not free ({error.strerror}): stop what listens there or choose another"
        ) from error
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=2)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name=f"loopback-{listener.getsockname()[1]}")
    listening = asyncio.create_task(server.listening.wait())
    await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    if task.done():
        await task
    return LoopbackServer(listener.getsockname()[1], server, task)
