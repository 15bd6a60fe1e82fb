"""Virtual time and the order of everything: a seeded scheduler over processes that are asyncio event loops of their own.

Inside a process callbacks run in the order asyncio promises. Between processes, and between a process and the network, any order
may happen. Every callback boundary is an await of somebody, and at each of them a process may be killed or frozen.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

EPOCH_MS = 1_700_000_000_000
"""Wall-clock time at virtual second 0."""


class OutOfSteps(Exception):
    """The schedule does not come to an end."""


class _Future(asyncio.Future):  # type: ignore[type-arg]
    """Hashed by age and not by address: sets of futures have the same order in every run."""

    __slots__ = ("_age",)

    def __hash__(self) -> int:
        try:
            return self._age
        except AttributeError:
            self._age: int = next(_ages)
            return self._age


class _Task(asyncio.Task):  # type: ignore[type-arg]
    __slots__ = ("_age",)
    __hash__ = _Future.__hash__


_ages = count()


class Handle:
    """What asyncio keeps of a callback: it may cancel it."""

    __slots__ = ("args", "callback", "context", "due")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Any, due: float = 0.0) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args, self.context, self.due = args, context, due

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.due


class Process(asyncio.AbstractEventLoop):
    """One operating system process: its event loop, and whether it lives. Nothing here waits for anything real."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.ready: deque[Handle] = deque()
        self.alive = True
        self.frozen = False
        self.runnable = False
        self.skew_ms = 0
        self.silences = 0
        """How often the network heard nothing of it."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.deaths: list[Callable[[], None]] = []
        """What the network notices when this process is gone."""

    def clock_ms(self) -> int:
        return EPOCH_MS + int(self.world.now * 1000) + self.skew_ms

    # asyncio's side

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        handle = Handle(callback, args, context)
        if self.alive:
            self.ready.append(handle)
            if not self.runnable:
                self.world.wake(self)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        return self.call_at(self.world.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        handle = Handle(callback, args, context, when)
        if self.alive:
            self.world.timer(when, self, handle)
        return handle

    def time(self) -> float:
        return self.world.now

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any]
        task = _Task(coro, loop=self, name=name) if context is None else _Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)


class World:
    """The scheduler. `run(until)` goes on until the condition holds; the same seed always takes the same way."""

    def __init__(self, seed: int | str, *, max_steps: int = 400_000) -> None:
        global _ages  # every schedule begins at the same age
        _ages = count()
        self.random = Random(f"world-{seed}")
        self.now = 0.0
        self.steps = 0
        self.max_steps = max_steps
        self.interrupt_at = max_steps
        """At which step `interrupt` is called."""
        self.interrupt: Callable[[], int] = self._too_long
        """Does what is due at this step, returns the next one."""
        self._heap: list[tuple[float, int, Process | None, Any]] = []
        self._ties = 0
        self._runnable: list[Process] = []
        self.processes: list[Process] = []
        self.trace: list[str] | None = None

    def note(self, *words: Any) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:9.4f} #{self.steps:<6} {' '.join(map(str, words))}")

    def process(self, name: str) -> Process:
        process = Process(self, name)  # type: ignore[abstract]  # what it has not, a simulated process may not use
        self.processes.append(process)
        return process

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """The process begins to run a coroutine."""
        previous = asyncio._get_running_loop()
        asyncio._set_running_loop(process)
        try:
            return process.create_task(work)
        finally:
            asyncio._set_running_loop(previous)

    # time

    def at(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """The world itself does something after a delay: the network, the broker, fate."""
        self._ties += 1
        heappush(self._heap, (self.now + delay, self._ties, None, (callback, args)))

    def timer(self, when: float, process: Process, handle: Handle) -> None:
        self._ties += 1
        heappush(self._heap, (when, self._ties, process, handle))

    def wake(self, process: Process) -> None:
        if not process.frozen:
            process.runnable = True
            self._runnable.append(process)

    # fate

    def kill(self, process: Process) -> None:
        """kill -9: nothing of it runs any more."""
        process.alive = process.frozen = False
        process.ready.clear()
        for gone in process.deaths:
            gone()

    def freeze(self, process: Process) -> None:
        process.frozen = True

    def thaw(self, process: Process) -> None:
        if process.frozen:
            process.frozen = False
            if process.ready and process.alive and not process.runnable:
                self.wake(process)

    # running

    def run(self, until: Callable[[], bool], *, deadline: float) -> bool:
        """Whether the condition came to hold before the deadline (virtual seconds). It is asked whenever time moves."""
        previous = asyncio._get_running_loop()
        try:
            return self._run(until, deadline)
        finally:
            asyncio._set_running_loop(previous)

    def _run(self, until: Callable[[], bool], deadline: float) -> bool:
        runnable, heap, random = self._runnable, self._heap, self.random.random
        while True:
            while runnable:
                at = int(random() * len(runnable)) if len(runnable) > 1 else 0
                process = runnable[at]
                ready = process.ready
                if ready and not process.frozen:
                    asyncio._set_running_loop(process)
                    burst = 1 + int(random() * 12)
                    while burst and ready:
                        burst -= 1
                        handle = ready.popleft()
                        callback = handle.callback
                        if callback is None:
                            continue
                        if handle.context is None:
                            self._guarded(process, callback, handle.args)
                        else:
                            handle.context.run(self._guarded, process, callback, handle.args)
                        self.steps += 1
                        if self.steps >= self.interrupt_at:
                            self.interrupt_at = self.interrupt()
                            break
                if not ready or process.frozen:
                    at = at if at < len(runnable) and runnable[at] is process else runnable.index(process)
                    runnable[at] = runnable[-1]
                    runnable.pop()
                    process.runnable = False
            if until():
                return True
            if not heap:
                return False
            when = heap[0][0]
            if when > deadline:
                return False
            self.now = max(self.now, when)
            while heap and heap[0][0] <= when:
                _, _, owner, what = heappop(heap)
                if owner is None:
                    what[0](*what[1])
                elif owner.alive and what.callback is not None:
                    owner.ready.append(what)
                    if not owner.runnable:
                        self.wake(owner)

    @staticmethod
    def _guarded(process: Process, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  asyncio reports it and goes on as well
            process.errors.append({"message": "a callback failed", "exception": error})

    def _too_long(self) -> int:
        raise OutOfSteps(f"no end after {self.steps} steps")

    def close(self) -> None:
        """End every coroutine that is still somewhere, without running anything that it would like to wait for."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for process in self.processes:
                process.alive = False
            for process in self.processes:
                previous = asyncio._get_running_loop()
                asyncio._set_running_loop(process)
                try:
                    for task in process.tasks:
                        if not task.done():
                            task._log_destroy_pending = False  # type: ignore[attr-defined]
                            _end(task.get_coro())
                finally:
                    asyncio._set_running_loop(previous)
                process.tasks.clear()
                process.ready.clear()
            self._heap.clear()


def _end(coro: Any) -> None:
    for _ in range(50):
        with contextlib.suppress(BaseException):
            coro.close()
            return
