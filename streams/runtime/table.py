"""A compacted topic as this process knows it: read whole from the start, then followed. No group: every process has all of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Self

from aiokafka import TopicPartition

from streams.runtime.closing import end
from streams.runtime.model import Record, RuntimeFailed
from streams.runtime.reading import Reader, record_of

POLL_MS = 100


log = logging.getLogger(__name__)

SHOWN = 200
"""Characters of a key, and of an error, that a line shows."""


def passed_over(record: Record, error: Exception) -> str:
    """The line about a record that its reader cannot use. Everything in it that a writer chose is escaped."""
    key = "no key" if record.key is None else f"key {record.key[:SHOWN]!r}"
    words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    why = words[: 2 * SHOWN].encode("unicode_escape").decode()
    return f"passing over {record.topic}-{record.partition}@{record.offset} ({key}), which cannot be used: {why}"


class FollowedTopic:
    """`async with FollowedTopic(bootstrap, topic, apply) as table: await table.caught_up()`.

    `apply` gets each record once, in order per partition; a value of None is a deletion. What it raises on is passed over, with
    one line that says which record and why: one record that nobody can use must not keep the others from being known.
    When the broker is gone, following ends, and `caught_up` and `failed` say so.
    """

    def __init__(
        self, bootstrap: str, topic: str, apply: Callable[[Record], None], *, report: Callable[[str], None] | None = None
    ) -> None:
        """`report`: says what was passed over; without, the log does."""
        self._report = report or log.warning
        self._topic = topic
        self._apply = apply
        self._reader = Reader(bootstrap, (topic,))
        self._following: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    async def start(self) -> None:
        await self._reader.start()
        try:
            self._reader.seek(await self._reader.beginnings())
        except BaseException:
            await self._reader.stop()
            raise
        self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        if self._following is not None:
            await end({self._following})
        await self._reader.stop()

    async def caught_up(self) -> None:
        """Returns once everything that was in the topic when this was called has been applied."""
        ends = await self._reader.ends()
        while not await self._applied(ends):
            self._moved.clear()
            await self._moved.wait()

    async def failed(self) -> None:
        """Waits for following to fail, and raises why."""
        assert self._following is not None, "start it first"
        await asyncio.wait((self._following,))
        self._raise_failure()

    async def _applied(self, ends: Mapping[TopicPartition, int]) -> bool:
        self._raise_failure()
        return await self._reader.reached(ends)

    def _raise_failure(self) -> None:
        assert self._following is not None, "start it first"
        if not self._following.done() or self._following.cancelled():
            return
        error = self._following.exception()
        raise RuntimeFailed(f"{self._topic} is not followed any more: {error!r}") from error

    async def _follow(self) -> None:
        try:
            while True:
                for raw in await self._reader.read(POLL_MS):
                    self._take(record_of(raw))
                self._moved.set()
        finally:
            self._moved.set()

    def _take(self, record: Record) -> None:
        try:
            self._apply(record)
        except Exception as error:  # noqa: BLE001  whatever a writer put there concerns this record alone
            self._report(passed_over(record, error))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.stop()
