"""The process in which a model's program meets Python: it drives monty, and only size-capped JSON text leaves it.

A script of its own, run by agents.sandbox with nothing of ours imported. Whatever a program makes of its values happens here,
where it can be killed: numbers that collide as keys, structures that explode when they become Python objects, an interpreter that
crashes. Messages are a length of four bytes and JSON, at most MAX_MESSAGE bytes.

In:  {"limits", "source", "functions", "now_ms", "seed"}, then for each call {"value": …} or {"error": [kind, words]}.
Out: {"ready": true}, then for each program {"call": [function, args, kwargs]}… and at its end one of {"done": [value, printed]},
{"failed": words} (the program's fault), {"crashed": words} (its interpreter ended) and {"broken": words} (it never ran).
"""

from __future__ import annotations

import ctypes
import datetime
import decimal
import json
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import pydantic_monty as monty

MAX_MESSAGE = 1_048_576
MAX_VALUE = 262_144
"""Bytes of JSON of one value that leaves: the arguments of a call, or the result."""
MAX_VALUES = 20_000
"""Numbers, texts, lists and mappings inside of one."""
MAX_DEPTH = 64
MAX_WORDS = 8_000
"""Characters of a traceback."""
MEMORY = 512 << 20
"""Bytes of address space of this process and of monty's worker, each."""
LARGEST_INT = 2**63


class Unfit(Exception):
    """A value cannot leave. The message says why, for the model too."""


class Plain:
    """Makes one value JSON's, within bounds. Tuples and sets become lists, dates and decimals texts."""

    def __init__(self) -> None:
        self.values, self.characters = MAX_VALUES, MAX_VALUE

    def of(self, value: Any, depth: int = 0) -> Any:
        self.values -= 1
        if self.values < 0:
            raise Unfit(f"it holds more than {MAX_VALUES:,} values; hand over less")
        if depth > MAX_DEPTH:
            raise Unfit(f"it is nested deeper than {MAX_DEPTH} levels, or contains itself")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int):
            if -LARGEST_INT <= value < LARGEST_INT:
                return value
            raise Unfit("it holds an integer beyond 64 bits; write it as text")
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            raise Unfit(f"it holds {value}, which is not a JSON number; use null or text")
        if isinstance(value, Mapping):
            return {self.key(key): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(item, depth + 1) for item in value]
        if isinstance(value, (set, frozenset)):
            return [self.of(item, depth + 1) for item in sorted(value, key=repr)]
        if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
            return value.isoformat()
        if isinstance(value, (decimal.Decimal, datetime.timedelta)):
            return self.text(str(value))
        raise Unfit(f"it holds a {type(value).__name__}, which is not JSON; use text, numbers, lists and dicts")

    def text(self, value: str) -> str:
        self.characters -= len(value)
        if self.characters < 0:
            raise Unfit(f"it is larger than {MAX_VALUE:,} bytes; hand over less")
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def key(self, key: object) -> str:
        if isinstance(key, str):
            return self.text(key)
        if isinstance(key, int) and not isinstance(key, bool) and not -LARGEST_INT <= key < LARGEST_INT:
            raise Unfit("it holds a mapping with an integer beyond 64 bits as key; use text")
        if isinstance(key, (bool, int, float)) or key is None:
            return json.dumps(key)
        raise Unfit(f"it holds a mapping with a {type(key).__name__} as key; use text")


def plain(value: Any) -> Any:
    """Raises Unfit."""
    made = Plain().of(value)
    if len(json.dumps(made, ensure_ascii=False).encode()) > MAX_VALUE:
        raise Unfit(f"it is larger than {MAX_VALUE:,} bytes; hand over less")
    return made


class Wire:
    """Messages over two pipes."""

    def __init__(self, reading: BinaryIO, writing: BinaryIO) -> None:
        self._reading, self._writing = reading, writing

    def receive(self) -> Any:
        """Ends the process when nobody is there any more."""
        head = self._reading.read(4)
        if len(head) < 4:
            raise SystemExit(0)
        (size,) = struct.unpack(">I", head)
        return json.loads(self._reading.read(size))

    def send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, ensure_ascii=False).encode()
        if len(data) > MAX_MESSAGE:
            data = json.dumps({"failed": "what the program hands over is too large"}).encode()
        self._writing.write(struct.pack(">I", len(data)) + data)
        self._writing.flush()


class Host:
    def __init__(self, pool: monty.Monty, wire: Wire) -> None:
        self._pool, self._wire = pool, wire

    def run(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """One program to its end: the last message about it."""
        limits = asked["limits"]
        resources: monty.ResourceLimits = {
            "max_turn_duration_secs": limits["turn_seconds"],
            "max_feed_duration_secs": limits["total_seconds"],
            "max_memory": limits["memory_bytes"],
            "max_recursion_depth": limits["recursion"],
            "max_suspensions": limits["calls"] * 4,
        }
        now = datetime.datetime.fromtimestamp(asked["now_ms"] / 1000, datetime.UTC)
        policy: monty.OSPolicy = {"datetime": now, "sleep": "zero", "random_start": {"seed": asked["seed"]}}
        printed = monty.CollectString(limits["printed_bytes"])
        try:
            with self._pool.checkout(limits=resources, os_policy=policy) as session:
                value = self._drive(session, asked, printed)
            return {"done": [plain(value), printed.output.encode("utf-8", "replace").decode()]}
        except Unfit as unfit:
            return {"failed": f"its result cannot be used: {unfit}"}
        except (monty.MontySyntaxError, monty.MontyRuntimeError) as error:
            return {"failed": error.display()[-MAX_WORDS:]}
        except monty.MontyConversionError as error:
            return {"failed": f"a value could not be passed to the program: {error}"[:MAX_WORDS]}
        except monty.MontyCrashedError as error:
            if error.timed_out:
                return {"failed": f"TimeoutError: the program computed for more than {limits['turn_seconds']} s"}
            return {"crashed": f"its interpreter ended while it ran: {error}"[:MAX_WORDS]}
        except Waiting:
            return {"failed": "the program waits for something that never comes; call the tools without await"}
        except (monty.MontyError, OSError, RuntimeError) as error:
            return {"broken": f"the sandbox failed: {error}"[:MAX_WORDS]}

    def _drive(self, session: monty.MontySession, asked: Mapping[str, Any], printed: monty.CollectString) -> Any:
        functions: list[str] = asked["functions"]
        calls = 0
        state = session.feed_start(asked["source"], print_callback=printed)
        while not isinstance(state, monty.MontyComplete):
            if isinstance(state, monty.NameLookupSnapshot):
                known = state.variable_name in functions
                state = state.resume(value=_named(state.variable_name)) if known else state.resume()
            elif isinstance(state, monty.FunctionSnapshot):
                if state.is_os_function:  # files, environment, imports: monty's own refusal
                    state = state.resume_not_handled()
                    continue
                calls += 1
                state = state.resume(self._answer(state, functions, calls > asked["limits"]["calls"], asked["limits"]["calls"]))
            else:
                raise Waiting
        return state.output

    def _answer(self, state: monty.FunctionSnapshot, functions: list[str], over: bool, most: int) -> Any:
        name = str(state.function_name)
        if over:
            return _error("RuntimeError", f"no more than {most} calls are allowed in one program")
        if name not in functions:
            return _error("NameError", f"name {name!r} is not defined; tools: {', '.join(functions) or 'none'}")
        try:
            args, kwargs = plain([list(state.args), dict(state.kwargs)])
        except Unfit as unfit:
            return _error("TypeError", f"an argument of {name} cannot be sent: {unfit}")
        self._wire.send({"call": [name, args, kwargs]})
        told = self._wire.receive()
        return {"return_value": told["value"]} if "value" in told else _error(*told["error"])


class Waiting(Exception):
    """The program awaits a future."""


def _error(kind: str, words: str) -> Any:
    return {"exc_type": kind, "message": words}


def _named(name: str) -> Callable[..., None]:
    """A stand-in that lets a program hold a tool as a value; calling it pauses the program as a direct call does."""

    def function(*args: object, **kwargs: object) -> None: ...

    function.__name__ = name
    return function


def confine() -> None:
    """Give way to everybody else, grow no further than MEMORY, and die with the parent."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    confine()
    wire = Wire(sys.stdin.buffer, sys.stdout.buffer)
    with monty.Monty(min_processes=1, max_processes=1, max_checkouts_per_worker=500) as pool:
        wire.send({"ready": True})
        host = Host(pool, wire)
        while True:
            wire.send(host.run(wire.receive()))


if __name__ == "__main__":
    main()
