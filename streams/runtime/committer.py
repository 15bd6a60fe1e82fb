"""When a partition commits, and that it never commits again once it was refused."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic
from zlib import crc32

from streams.runtime.commits import Commits, WritesRefused
from streams.runtime.effects import Batch, EffectsLog, Journal, Put
from streams.runtime.model import Fenced, RuntimeSettings, S


class Committer(Generic[S]):
    """Takes what the log has to commit: an interval after the first settled record, sooner after many or when asked to."""

    def __init__(
        self,
        name: str,
        log: EffectsLog[S],
        commits: Commits,
        settings: RuntimeSettings,
        refused: Callable[[Put[S], str], Awaitable[None]],
    ) -> None:
        """`refused` is told of each state that the changelog does not take, and why, before the others are committed."""
        self.lost: Fenced | None = None
        """Why nothing can be committed any more. Once set, it stays."""
        self._name = name
        self._log = log
        self._commits = commits
        self._refused = refused
        self._every = settings.commit_every
        # A little different for each partition, or all that began together would commit together, and records wait for them.
        odd = 0.75 + 0.5 * (crc32(name.encode()) % 256) / 256
        self._interval_s = settings.commit_interval_s * odd
        self._soon_s, self._spacing_s = settings.commit_soon_s, settings.commit_spacing_s * odd
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = self._began = -math.inf
        self._committing = asyncio.Lock()

    def moved(self) -> None:
        """The watermark has moved."""
        if self._log.settled >= self._every:
            self.soon()
        elif self._timer is None:
            self._at(asyncio.get_running_loop().time() + self._interval_s)

    def gone_ahead(self) -> None:
        """States that need no position wait to be committed."""
        due = max(asyncio.get_running_loop().time() + self._soon_s, self._began + self._spacing_s)
        if self._timer is None or due < self._due_at:
            self._at(due)

    def _at(self, due: float) -> None:
        self.cancel_timer()
        self._timer, self._due_at = asyncio.get_running_loop().call_at(due, self.soon), due

    def soon(self) -> None:
        self.cancel_timer()
        self._due.set()

    def cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def run(self) -> None:
        """Commit whenever it is due. Ends with the first commit that fails."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self.commit()

    async def commit(self) -> None:
        """The one place where a position moves: with the states of everything before it, or not at all."""
        async with self._committing:
            if self.lost is not None:  # after a failed commit there is no other: its states would be missing from it
                raise Fenced(str(self.lost))
            batch = self._log.take()
            if batch is None:
                return
            self._began = asyncio.get_running_loop().time()
            store = self._log.store
            try:
                encoded = {key: self._data(put) for key, put in batch.puts.items()}
                end = await self._written(batch, encoded)
            except BaseException as error:
                self.lost = error if isinstance(error, Fenced) else Fenced(f"{self._name} was closed before this was durable")
                for journal in batch.journals:  # told only now: what they do next must find the partition lost
                    if not journal.durable.done():
                        journal.durable.set_exception(Fenced(str(self.lost)))
                raise
            self._log.committed(batch, encoded)
            if end is not None:
                store.next_offset = end
            if batch.position is not None:
                store.noted = self._commits.note(batch.position)
            store.known_at = asyncio.get_running_loop().time()

    def _data(self, put: Put[S]) -> bytes | None:
        return put.data if put.data is not None else self._log.store.encode(put.key, put.state)

    async def _written(self, batch: Batch[S], encoded: Mapping[str, bytes | None]) -> int | None:
        """What the changelog refuses for what it is, it would refuse again: the rest is committed without it."""
        while True:
            writes = [(key.encode(), data) for key, data in encoded.items() if key not in batch.refused]
            try:
                return await self._commits.commit(batch.position, writes)
            except WritesRefused as error:
                for key, reason in error.reasons.items():
                    batch.refused[key.decode()] = reason
                    if not isinstance(put := batch.puts[key.decode()], Journal):  # its handler is waiting, and hears of it
                        await self._refused(put, reason)
