"""In which order the records of one partition are handled, and how many at once. Knows nothing of effects or commits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, Protocol

from streams.runtime.begun import Begun
from streams.runtime.effects import EffectsLog, Entry
from streams.runtime.model import Record, S, Until
from streams.runtime.reading import record_of

SLICE_S = 0.002
"""How long handlers that never wait may keep the event loop from everybody else."""

Handle = Callable[[Record, Entry[S]], Awaitable[Until | None]]
"""Returns what the record has to wait for, if it could not be handled yet."""
Spawn = Callable[[Any], None]
"""Runs a coroutine as a task of the partition; its failure is the partition's."""


class Dispatch(Protocol):
    @property
    def backlog(self) -> int:
        """Records fetched and not yet begun."""
        ...

    def feed(self, raws: Iterable[Any]) -> None:
        """More records have been fetched."""
        ...

    def begin(self, record: Record) -> Entry[Any] | None:
        """Begin a record whose offset is not known yet, if nothing stands in its way. It is placed later, in its order."""
        ...

    def placed(self) -> None:
        """A record that was begun so has its place."""
        ...

    def room(self) -> None:
        """The watermark has moved."""
        ...

    def hold(self) -> None:
        """Begin no further record until `go_on`; those begun go on."""
        ...

    def go_on(self) -> None: ...

    def stop(self) -> None:
        """Begin no further record; those begun go on."""
        ...


def dispatch(log: EffectsLog[S], handle: Handle[S], spawn: Spawn, *, bound: int, concurrency: int) -> Dispatch:
    if concurrency == 1:
        return InOrder(log, handle, spawn, bound=bound)
    return PerKey(log, handle, spawn, bound=bound, concurrency=concurrency)


class InOrder(Generic[S]):
    """One record after the other, by one task. The outputs of a record may still be on their way while the next is handled.

    A record that has to wait is set aside, and with it those of its key that come after it.
    """

    def __init__(self, log: EffectsLog[S], handle: Handle[S], spawn: Spawn, *, bound: int) -> None:
        self._log = log
        self._handle = handle
        self._bound = bound
        self._incoming: deque[Any] = deque()
        self._more = asyncio.Event()
        self._spawn = spawn
        self._again: deque[tuple[Any, Entry[S]]] = deque()
        """Have waited, or come after one that has."""
        self._aside: dict[bytes | None, deque[tuple[Any, Entry[S]]]] = {}
        """Per key that waits or has waited: what comes after."""
        self._stopping = self._held = False
        spawn(self._work())

    @property
    def backlog(self) -> int:
        return len(self._incoming)

    def feed(self, raws: Iterable[Any]) -> None:
        self._incoming.extend(raws)
        self._more.set()

    def begin(self, record: Record) -> Entry[Any] | None:
        return None

    def placed(self) -> None: ...

    def room(self) -> None:
        self._more.set()

    def hold(self) -> None:
        self._held = True

    def go_on(self) -> None:
        self._held = False
        self._more.set()

    def stop(self) -> None:
        self._stopping = True
        self._more.set()

    async def _work(self) -> None:
        incoming, log, handle, bound, again, aside = (
            self._incoming,
            self._log,
            self._handle,
            self._bound,
            self._again,
            self._aside,
        )
        now = asyncio.get_running_loop().time
        slice_end = now() + SLICE_S
        while not self._stopping:
            if self._held or not (again or (incoming and log.in_flight < bound)):
                self._more.clear()
                await self._more.wait()
                slice_end = now() + SLICE_S
                continue
            if again:
                raw, entry = again.popleft()
            else:
                raw = incoming.popleft()
                entry = log.open(raw.offset)
                if aside and raw.key in aside:
                    aside[raw.key].append((raw, entry))
                    continue
            until = await handle(record_of(raw), entry)
            if until is not None:
                aside.setdefault(raw.key, deque())
                self._spawn(self._wait(until, raw, entry))
            elif aside and raw.key in aside:
                self._passed(raw.key)
            if now() > slice_end:
                await asyncio.sleep(0)
                slice_end = now() + SLICE_S

    async def _wait(self, until: Until, raw: Any, entry: Entry[S]) -> None:
        await until()
        self._again.append((raw, entry))
        self._more.set()

    def _passed(self, key: bytes | None) -> None:
        """The next record of a key that had to wait."""
        queue = self._aside[key]
        if queue:
            self._again.append(queue.popleft())
        else:
            del self._aside[key]


class PerKey(Generic[S]):
    """In order for each key, up to `concurrency` keys at once. Records without a key have no order."""

    def __init__(self, log: EffectsLog[S], handle: Handle[S], spawn: Spawn, *, bound: int, concurrency: int) -> None:
        self._log = log
        self._handle = handle
        self._spawn = spawn
        self._bound = bound
        self._concurrency = concurrency
        self._incoming: deque[Any] = deque()
        self._queues: dict[bytes, deque[tuple[Any, Entry[S]]]] = {}
        """Per key that is being worked on or is ready: what comes after."""
        self._ready: deque[tuple[Any, Entry[S]]] = deque()
        self._workers = 0
        self._unplaced = 0
        """Begun, and not yet in the log."""
        self._stopping = self._held = self._making_room = False

    @property
    def backlog(self) -> int:
        return len(self._incoming)

    def feed(self, raws: Iterable[Any]) -> None:
        self._incoming.extend(raws)
        self.room()

    def begin(self, record: Record) -> Entry[S] | None:
        key = record.key
        if self._incoming or self._held or self._stopping or key is None or key in self._queues:
            return None
        if self._workers >= self._concurrency or self._log.in_flight + self._unplaced >= self._bound:
            return None
        entry: Entry[S] = Entry(-1)
        self._unplaced += 1
        self._queues[key] = deque()
        self._ready.append((record, entry))
        self._employ()
        return entry

    def placed(self) -> None:
        self._unplaced -= 1

    def room(self) -> None:
        if self._making_room:
            return
        self._making_room = True
        self._take_up()
        self._making_room = False
        self._employ()

    def _take_up(self) -> None:
        incoming, log = self._incoming, self._log
        while incoming and log.in_flight < self._bound:
            raw = incoming.popleft()
            if type(raw) is Begun:
                raw.place()
                continue
            item = (raw, log.open(raw.offset))  # opened in offset order, whenever it is begun
            queue = self._queues.get(raw.key) if raw.key is not None else None
            if queue is not None:
                queue.append(item)
                continue
            if raw.key is not None:
                self._queues[raw.key] = deque()
            self._ready.append(item)

    def hold(self) -> None:
        self._held = True

    def go_on(self) -> None:
        self._held = False
        self.room()

    def _employ(self) -> None:
        wanted = min(len(self._ready), self._concurrency - self._workers) if not (self._held or self._stopping) else 0
        for _ in range(wanted):
            self._workers += 1
            self._spawn(self._work())

    def stop(self) -> None:
        self._stopping = True

    async def _work(self) -> None:
        now = asyncio.get_running_loop().time
        slice_end = now() + SLICE_S
        try:
            while self._ready and not (self._stopping or self._held):
                raw, entry = self._ready.popleft()
                until = await self._handle(record_of(raw), entry)
                if until is None:
                    self._passed(raw.key)
                else:
                    self._spawn(self._wait(until, raw, entry))
                if now() > slice_end:
                    await asyncio.sleep(0)
                    slice_end = now() + SLICE_S
        finally:
            self._workers -= 1

    async def _wait(self, until: Until, raw: Any, entry: Entry[S]) -> None:
        """Its key has its turn until it is through, and no worker meanwhile."""
        await until()
        self._ready.append((raw, entry))
        self._employ()

    def _passed(self, key: bytes | None) -> None:
        """The next record of this key lines up behind the other keys."""
        if key is None:
            return
        queue = self._queues[key]
        if queue:
            self._ready.append(queue.popleft())
        else:
            del self._queues[key]
