"""The parent's side of the guard: orders it, and learns how its children fare."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.embedded.errors import EmbeddedError
from schemas.environment import child_environment

GUARD = Path(__file__).with_name("guard.py")
CLOSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Command:
    """A program for the guard to run. `stop` asks it to end, `halt` insists."""

    name: str
    argv: Sequence[str]
    log: Path
    stop: signal.Signals = signal.SIGTERM
    halt: signal.Signals = signal.SIGKILL
    env: Mapping[str, str] | None = None
    user: tuple[int, int] | None = None
    reach: Sequence[str] = ()


class Children:
    """Programs that end with this process. Use as an async context manager."""

    def __init__(self, record: Path, log: Path, lock: int) -> None:
        """`record`: where the guard notes running pids. `lock`: a descriptor the guard holds as long as it has children."""
        self._record, self._log, self._lock = record, log, lock
        self._guard: subprocess.Popen[bytes] | None = None
        self._started: dict[str, asyncio.Future[int]] = {}
        self._ended: dict[str, asyncio.Future[int]] = {}
        self._gone = asyncio.Event()
        self._rest = b""

    async def __aenter__(self) -> Children:
        with self._log.open("ab") as log:
            self._guard = subprocess.Popen(  # noqa: S603, ASYNC220 - our own file; takes milliseconds
                [sys.executable, "-I", "-S", str(GUARD), str(self._record)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=child_environment(),  # its children inherit it
                cwd="/",
                start_new_session=True,
                pass_fds=(self._lock,),
            )
        assert self._guard.stdout is not None
        os.set_blocking(self._guard.stdout.fileno(), False)
        asyncio.get_running_loop().add_reader(self._guard.stdout.fileno(), self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all children and wait for it."""
        guard = self._guard
        if guard is None:
            return
        assert guard.stdin is not None
        assert guard.stdout is not None
        with contextlib.suppress(OSError):
            guard.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            guard.kill()
        finally:
            asyncio.get_running_loop().remove_reader(guard.stdout.fileno())
            guard.stdout.close()
            if self._gone.is_set():
                guard.wait()
            self._guard = None

    async def start(self, command: Command) -> int:
        """Start a program and return its pid. Raises EmbeddedError if it cannot be executed."""
        guard = self._guard
        assert guard is not None
        assert guard.stdin is not None
        loop = asyncio.get_running_loop()
        self._started[command.name], self._ended[command.name] = loop.create_future(), loop.create_future()
        order = {
            "name": command.name,
            "argv": list(command.argv),
            "env": dict(command.env) if command.env is not None else None,
            "log": str(command.log),
            "stop": int(command.stop),
            "halt": int(command.halt),
            "user": command.user,
            "reach": list(command.reach),
        }
        try:
            os.write(guard.stdin.fileno(), json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise EmbeddedError(
                f"The guard of the embedded parts is gone ({error.strerror}); see {self._log}. Start again."
            ) from error
        return await self._started[command.name]

    async def run(self, command: Command) -> int:
        """Start a program that ends by itself; returns its exit code."""
        await self.start(command)
        return await self.ended(command.name)

    async def ended(self, name: str) -> int:
        """Wait until a started program has ended; returns its exit code."""
        return await asyncio.shield(self._ended[name])

    def running(self, name: str) -> bool:
        """Whether a started program has not ended yet."""
        return not self._ended[name].done()

    def _hear(self) -> None:
        assert self._guard is not None
        assert self._guard.stdout is not None
        data = os.read(self._guard.stdout.fileno(), 65536)
        if not data:
            asyncio.get_running_loop().remove_reader(self._guard.stdout.fileno())
            self._gone.set()
            lost = EmbeddedError(f"The guard of the embedded parts ended; see {self._log}. Start again.")
            for future in [*self._started.values(), *self._ended.values()]:
                if not future.done():
                    future.set_exception(lost)
                    future.exception()  # whoever waits gets it; nobody waiting is no fault
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._learn(json.loads(line))

    def _learn(self, news: dict[str, object]) -> None:
        if "started" in news:
            self._settle(self._started, news["started"], news["pid"])
        elif "exited" in news:
            self._settle(self._ended, news["exited"], news["code"])
        elif "failed" in news:
            future = self._started[str(news["failed"])]
            if not future.done():
                future.set_exception(EmbeddedError(f"{news['failed']} cannot be started: {news['error']}"))

    @staticmethod
    def _settle(futures: dict[str, asyncio.Future[int]], name: object, value: object) -> None:
        future = futures[str(name)]
        if not future.done():
            assert isinstance(value, int)
            future.set_result(value)
