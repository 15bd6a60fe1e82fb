"""Virtual time and the order of everything: a seeded scheduler over processes that are asyncio event loops of their own.

Inside a process callbacks run in the order asyncio promises. Between processes, and between a process and the network, any order
may happen. Every callback boundary is an await of somebody, and at each of them a process may be killed or frozen.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
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


class Handle(list[Any]):
    """What asyncio keeps of a callback, and may cancel: [callback, arguments, context].

    A list, because one is made for every step of a schedule, and a list is made without calling Python.
    """

    __slots__ = ()

    def cancel(self) -> None:
        self[:] = None, (), None

    def cancelled(self) -> bool:
        return self[0] is None


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
        handle = Handle((callback, args, context))
        if self.alive:
            self.ready.append(handle)
            if not self.runnable:
                self.world.wake(self)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        handle = Handle((callback, args, context))
        if self.alive:
            self.world.timer(self.world.now + delay, self, handle)
        return handle

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:  # type: ignore[override]
        handle = Handle((callback, args, context))
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

    get_debug = bool  # says False, like a method would; asked for every future, so without a frame

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
        self._heap: list[tuple[float, int, Process | None, Any, tuple[Any, ...]]] = []
        """When, a tie-breaker, and what: a callback of the world's own with its arguments, or a process and its handle."""
        self._ties = count().__next__
        self._runnable: list[Process] = []
        self.processes: list[Process] = []
        self._generators: list[Any] = []
        """Asynchronous ones that were begun: they are ended with the world."""
        self.broker: Any = None
        """The one broker there is, once there is one."""
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
        heappush(self._heap, (self.now + delay, self._ties(), None, callback, args))

    def timer(self, when: float, process: Process, handle: Handle) -> None:
        heappush(self._heap, (when, self._ties(), process, handle, ()))

    def deliver(self, delay: float, process: Process, callback: Callable[..., Any], *args: Any) -> None:
        """After a delay the process gets something to do, if it lives then."""
        heappush(self._heap, (self.now + delay, self._ties(), process, Handle((callback, args, None)), ()))

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
        previous, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        with _unlisted():
            sys.set_asyncgen_hooks(firstiter=self._generators.append, finalizer=_close)
            try:
                return self._run(until, deadline)
            finally:
                sys.set_asyncgen_hooks(*hooks)
                asyncio._set_running_loop(previous)

    def _run(self, until: Callable[[], bool], deadline: float) -> bool:
        runnable, heap, random, enter = self._runnable, self._heap, self.random.random, asyncio._set_running_loop
        while True:
            while runnable:
                at = int(random() * len(runnable)) if len(runnable) > 1 else 0
                process = runnable[at]
                ready = process.ready
                if ready and not process.frozen:
                    enter(process)
                    burst = 1 + int(random() * 12)
                    while burst and ready:
                        burst -= 1
                        callback, args, context = ready.popleft()
                        if callback is None:
                            continue
                        try:
                            if context is None:
                                callback(*args)
                            else:
                                context.run(callback, *args)
                        except (SystemExit, KeyboardInterrupt):
                            raise
                        except BaseException as error:  # noqa: BLE001  asyncio reports it and goes on as well
                            process.errors.append({"message": "a callback failed", "exception": error})
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
            if when > self.now:
                self.now = when
            while heap and heap[0][0] <= when:
                _, _, owner, what, args = heappop(heap)
                if owner is None:
                    what(*args)
                elif owner.alive and what[0] is not None:
                    owner.ready.append(what)
                    if not owner.runnable:
                        self.wake(owner)

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
            while self._generators:  # taken out: who was not ended by this is by being forgotten, here and not after the warnings
                _close(self._generators.pop())
            self._heap.clear()


def _close(generator: Any) -> None:
    """End an asynchronous generator, without what it would like to wait for."""
    closing = generator.aclose()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it makes and does not get to wait for
        for _ in range(50):
            try:
                closing.send(None)
            except BaseException:  # noqa: BLE001  it has ended, one way or the other
                return


def _end(coro: Any) -> None:
    """Unlike `close` this lets what waits while it ends, in a `finally`, be ended there as well."""
    for _ in range(50):
        try:
            coro.throw(GeneratorExit())
        except BaseException:  # noqa: BLE001  it has ended, one way or the other
            return


@contextlib.contextmanager
def _unlisted() -> Iterator[None]:
    """Tasks are not entered in asyncio's set of all tasks, which nobody here asks for: a weak set, and slow."""
    listed: Any = asyncio.tasks._all_tasks  # type: ignore[attr-defined]
    listed.add = lambda task: None
    try:
        yield
    finally:
        del listed.add
