"""Runs programs a model wrote in processes that can be killed: no files, no network, no imports of ours, all bounded.

The program pauses at each call of a function it does not define; the caller answers, the program goes on. Its clock and its
random numbers come from the caller, so that the same program with the same answers does the same again. Between it and us stands
agents.sandbox_host: only size-capped JSON text comes over, and a host that overruns its time is killed with everything it began.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Answer = Callable[[str, tuple[Any, ...], Mapping[str, Any]], Awaitable[Any]]
"""Answers one call: (function, positional, named) → value. Raises CallFailed for what the program may catch."""
HOST = Path(__file__).with_name("sandbox_host.py")
START_SECONDS = 30.0
MAX_MESSAGE = 1_048_576
"""Bytes of one message from or to a host."""
MAX_PROGRAM = 100_000
"""Characters of a program."""
RESULT_BYTES = 262_144
"""Of JSON, for the answer to one call."""
CALLS_BYTES = 2_097_152
"""For all calls of one program and their answers: all of it is journalled."""
PROGRAMS_EACH = 200
"""Programs a host runs before another takes its place."""
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "MONTY_BIN", "LD_LIBRARY_PATH")
"""All of our environment that a host sees."""


class CallFailed(Exception):
    """A call failed in a way the program may catch. `kind` is the name of a built-in exception."""

    def __init__(self, message: str, *, kind: str = "RuntimeError") -> None:
        super().__init__(message)
        self.kind = kind


class ProgramFailed(Exception):
    """The program is at fault: the message is what its author needs to mend it, usually a traceback."""


class ProgramBroke(ProgramFailed):
    """The program crashed its interpreter, or overran its host and was killed: it is not to be run again."""


class SandboxBroken(Exception):
    """The sandbox is at fault; the program never ran."""


@dataclass(frozen=True, slots=True)
class Limits:
    turn_seconds: float = 2.0
    """Computing time between two calls."""
    total_seconds: float = 10.0
    """Computing time of the whole program, waiting for calls not counted."""
    memory_bytes: int = 64 * 1024 * 1024
    printed_bytes: int = 64 * 1024
    calls: int = 50
    recursion: int = 400
    grace_seconds: float = 3.0
    """How much later than its program a host may be: what it takes to hand a value over, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Finished:
    value: Any
    """What the last expression was, as JSON."""
    printed: str


class Sandbox:
    """A pool of hosts, started as programs come and ended by `close`. One for the process."""

    def __init__(self, *, limits: Limits | None = None, max_programs: int = 8) -> None:
        self._limits = limits or Limits()
        self._slots = asyncio.Semaphore(max_programs)
        self._idle: list[Host] = []
        self._all: set[Host] = set()

    async def run(self, source: str, *, functions: Collection[str], answer: Answer, now_ms: int = 0, seed: str = "") -> Finished:
        """Run `source` to its end. Raises ProgramFailed, SandboxBroken, and whatever `answer` raises besides CallFailed."""
        if len(source) > MAX_PROGRAM:
            raise ProgramFailed(f"the program is longer than {MAX_PROGRAM:,} characters")
        asked = {
            "limits": asdict(self._limits),
            "source": source.encode("utf-8", "replace").decode(),
            "functions": list(functions),
            "now_ms": now_ms,
            "seed": seed,
        }
        async with self._slots:
            host = await self._host()
            try:
                finished = await self._drive(host, asked, answer)
            except ProgramBroke:
                raise
            except ProgramFailed:
                self._give_back(host)
                raise
            else:
                self._give_back(host)
                return finished
            finally:
                if host not in self._idle:
                    self._all.discard(host)
                    await asyncio.shield(host.end())

    async def close(self) -> None:
        """End the hosts, with the programs that still run."""
        hosts, self._all, self._idle = self._all, set(), []
        await asyncio.gather(*(host.end() for host in hosts))

    async def _host(self) -> Host:
        while self._idle:
            host = self._idle.pop()
            if host.alive:
                return host
            self._all.discard(host)
            await host.end()
        host = await Host.start()
        self._all.add(host)
        return host

    def _give_back(self, host: Host) -> None:
        host.programs += 1
        if host.programs < PROGRAMS_EACH and host in self._all:
            self._idle.append(host)

    async def _drive(self, host: Host, asked: Mapping[str, Any], answer: Answer) -> Finished:
        patience = self._limits.turn_seconds + self._limits.grace_seconds
        given = calls = 0
        told = await host.ask(asked, patience)
        while "call" in told:
            function, args, kwargs = told["call"]
            calls += 1
            given += host.message_bytes
            if calls > self._limits.calls:  # the host counts too
                raise ProgramBroke(f"it made more than {self._limits.calls} calls")
            try:
                if given > CALLS_BYTES:
                    raise CallFailed(
                        f"this program's calls and their answers have more than {CALLS_BYTES:,} bytes already: ask for less"
                    )
                written = _written(await answer(function, tuple(args), kwargs))
                given += len(written)
                reply = b'{"value": ' + written + b"}"
            except CallFailed as failed:
                reply = json.dumps({"error": [failed.kind, str(failed)[:2000]]}).encode()
            told = await host.ask_bytes(reply, patience)
        if "done" in told:
            value, printed = told["done"]
            return Finished(value, printed)
        if "failed" in told:
            raise ProgramFailed(told["failed"])
        if "crashed" in told:
            raise ProgramBroke(told["crashed"])
        raise SandboxBroken(told.get("broken") or "the sandbox said something that nobody understands")


def _written(value: Any) -> bytes:
    """The answer to a call as JSON. Raises CallFailed: the call has been carried out all the same."""
    written = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
    if len(written) > RESULT_BYTES:
        raise CallFailed(
            f"the call was carried out, but its result of {len(written):,} bytes is larger than {RESULT_BYTES:,}: ask for less"
        )
    return written


class Host:
    """One process of agents.sandbox_host, and what it began."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.programs = 0
        self.message_bytes = 0
        """Of its last message."""

    @classmethod
    async def start(cls) -> Host:
        """Raises SandboxBroken."""
        environ = {name: os.environ[name] for name in INHERITED if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(HOST),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env=environ,
            )
        except OSError as error:
            raise SandboxBroken(f"no process for a program could be started: {error}") from error
        host = cls(process)
        try:
            await host._receive(START_SECONDS)
        except ProgramBroke as error:
            await host.end()
            raise SandboxBroken(f"the sandbox did not start: {error}. Is pydantic-monty-runtime installed?") from error
        except BaseException:
            await asyncio.shield(host.end())
            raise
        return host

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, message: Mapping[str, Any], patience_s: float) -> dict[str, Any]:
        return await self.ask_bytes(json.dumps(message).encode(), patience_s)

    async def ask_bytes(self, message: bytes, patience_s: float) -> dict[str, Any]:
        """Its next message. Raises ProgramBroke when it ends or takes too long."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(struct.pack(">I", len(message)) + message)
            async with asyncio.timeout(patience_s):
                await self._process.stdin.drain()
        except (OSError, TimeoutError) as error:
            raise ProgramBroke("its process ended while it ran") from error
        return await self._receive(patience_s)

    async def _receive(self, patience_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(patience_s):
                (size,) = struct.unpack(">I", await self._process.stdout.readexactly(4))
                if size > MAX_MESSAGE:
                    raise ProgramBroke("it handed over more than a message may hold")
                self.message_bytes = size
                told = json.loads(await self._process.stdout.readexactly(size))
        except asyncio.IncompleteReadError as error:
            raise ProgramBroke("its process ended while it ran: it took too much memory, or crashed it") from error
        except TimeoutError as error:
            raise ProgramBroke(f"it did not come to its next call or its end within {patience_s:g} s and was killed") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ProgramBroke(f"what it handed over cannot be read: {type(error).__name__}") from error
        if not isinstance(told, dict):
            raise ProgramBroke("what it handed over cannot be read")
        return told

    async def end(self) -> None:
        """Kill it and all it began."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
