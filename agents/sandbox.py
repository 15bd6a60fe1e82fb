"""Runs programs a model wrote, in pydantic-monty worker processes: no files, no network, no imports of ours, all bounded.

The program pauses at each call of a function it does not define; the caller answers, the program goes on. Its clock and its
random numbers come from the caller, so that the same program with the same answers does the same again.

The synchronous pool is driven from threads of our own: with monty 1.4 the asynchronous one leaves runtime threads behind that
abort the interpreter at exit (6 of 12 runs that had seen failing programs), and a cancelled call of it never lets go.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic_monty as monty

T = TypeVar("T")
Answer = Callable[[str, tuple[Any, ...], Mapping[str, Any]], Awaitable[Any]]
"""Answers one call: (function, positional, named) → value. Raises CallFailed for what the program may catch."""


class CallFailed(Exception):
    """A call failed in a way the program may catch. `kind` is the name of a built-in exception."""

    def __init__(self, message: str, *, kind: str = "RuntimeError") -> None:
        super().__init__(message)
        self.kind = kind


class ProgramFailed(Exception):
    """The program is at fault: the message is what its author needs to mend it, usually a traceback."""


class SandboxBroken(Exception):
    """The sandbox is at fault; the program may never have run."""


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


@dataclass(frozen=True, slots=True)
class Finished:
    value: Any
    """What the last expression was; any value monty can carry, not yet JSON."""
    printed: str


class Sandbox:
    """A pool of workers, started at the first program and ended by `close`. One for the process."""

    def __init__(self, *, limits: Limits | None = None, max_programs: int = 8) -> None:
        self._limits = limits or Limits()
        self._max_programs = max_programs
        self._slots = asyncio.Semaphore(max_programs)
        self._starting = asyncio.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._pool: monty.Monty | None = None

    async def run(self, source: str, *, functions: Collection[str], answer: Answer, now_ms: int = 0, seed: str = "") -> Finished:
        """Run `source` to its end. Raises ProgramFailed, SandboxBroken, and whatever `answer` raises besides CallFailed."""
        async with self._slots:
            pool = await self._started()
            session = pool.checkout(limits=self._resources(), os_policy=_policy(now_ms, seed))
            try:
                await self._off_loop(session.__enter__)
            except (monty.MontyError, OSError, RuntimeError) as error:
                raise SandboxBroken(f"no sandbox worker could be started: {error}") from error
            try:
                return await self._drive(session, source, functions, answer)
            finally:
                await asyncio.shield(self._off_loop(session.__exit__, None, None, None))

    async def close(self) -> None:
        """End the workers and their threads. Programs still running end first, at the latest at their time limit."""
        async with self._starting:
            pool, self._pool = self._pool, None
            if pool is not None:
                await self._off_loop(pool.__exit__, None, None, None)
            threads, self._threads = self._threads, None
            if threads is not None:
                await asyncio.to_thread(threads.shutdown)

    async def _drive(self, session: monty.MontySession, source: str, functions: Collection[str], answer: Answer) -> Finished:
        printed = monty.CollectString(self._limits.printed_bytes)
        calls = 0
        state = await self._turn(session.feed_start, source, print_callback=printed)
        while not isinstance(state, monty.MontyComplete):
            if isinstance(state, monty.NameLookupSnapshot):
                if state.variable_name in functions:
                    state = await self._turn(state.resume, value=_named(state.variable_name))
                else:
                    state = await self._turn(state.resume)
            elif isinstance(state, monty.FunctionSnapshot):
                if state.is_os_function:  # files, environment, imports: monty's own refusal
                    state = await self._turn(state.resume_not_handled)
                    continue
                calls += 1
                try:
                    if calls > self._limits.calls:
                        raise CallFailed(f"no more than {self._limits.calls} calls are allowed in one program")
                    if state.function_name not in functions:
                        known = ", ".join(functions) or "none"
                        raise CallFailed(f"name {state.function_name!r} is not defined; tools: {known}", kind="NameError")
                    value = await answer(state.function_name, state.args, state.kwargs)
                except CallFailed as failed:
                    state = await self._turn(state.resume, {"exc_type": failed.kind, "message": str(failed)})
                else:
                    state = await self._turn(state.resume, {"return_value": value})
            else:
                raise ProgramFailed("the program waits for something that never comes; call the tools without await")
        return Finished(state.output, printed.output)

    async def _turn(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Let the program compute until it calls, ends or fails."""
        try:
            return await self._off_loop(function, *args, **kwargs)
        except (monty.MontySyntaxError, monty.MontyRuntimeError) as error:
            raise ProgramFailed(error.display()) from error
        except monty.MontyConversionError as error:
            raise ProgramFailed(f"a value could not be passed to the program: {error}") from error
        except monty.MontyCrashedError as error:
            if error.timed_out:
                raise ProgramFailed(f"TimeoutError: the program computed for more than {self._limits.turn_seconds} s") from error
            raise SandboxBroken(f"the sandbox worker ended while it ran the program: {error}") from error
        except monty.MontyError as error:
            raise SandboxBroken(f"the sandbox failed: {error}") from error

    async def _off_loop(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._max_programs + 1, thread_name_prefix="sandbox")
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: _guarded(function, args, kwargs))

    async def _started(self) -> monty.Monty:
        async with self._starting:
            if self._pool is None:
                pool = monty.Monty(
                    min_processes=1,
                    max_processes=self._max_programs,
                    checkout_timeout=30.0,
                    request_timeout=self._limits.total_seconds + 5.0,
                    max_checkouts_per_worker=500,
                )
                try:
                    await self._off_loop(pool.__enter__)
                except (monty.MontyError, OSError, RuntimeError) as error:
                    raise SandboxBroken(f"the sandbox did not start: {error}. Is pydantic-monty-runtime installed?") from error
                self._pool = pool
            return self._pool

    def _resources(self) -> monty.ResourceLimits:
        return {
            "max_turn_duration_secs": self._limits.turn_seconds,
            "max_feed_duration_secs": self._limits.total_seconds,
            "max_memory": self._limits.memory_bytes,
            "max_recursion_depth": self._limits.recursion,
            "max_suspensions": self._limits.calls * 4,
        }


def _policy(now_ms: int, seed: str) -> monty.OSPolicy:
    now = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    return {"datetime": now, "sleep": "zero", "random_start": {"seed": seed}}


def _named(name: str) -> Callable[..., None]:
    """A stand-in that lets a program hold a tool as a value; calling it pauses the program as a direct call does."""

    def function(*args: object, **kwargs: object) -> None: ...

    function.__name__ = name
    return function


def _guarded(function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    try:
        return function(*args, **kwargs)
    except Exception:
        raise
    except BaseException as error:  # pyo3 panics are no Exception; they must not end our thread or our process
        raise SandboxBroken(f"the sandbox panicked: {error}") from error
