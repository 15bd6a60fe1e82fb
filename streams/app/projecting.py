"""The projector's runtime, begun anew whenever its partitions were taken over: by a rebuild, or by another of its kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from connectors.postgres.errors import OvertakenError
from streams.runtime import BatchRuntime

_log = logging.getLogger(__name__)

PAUSE_S = 0.5
"""Before the group is joined again: two that take over from each other must not do it without end at full speed."""


class Projecting:
    """`await run()` until `stop()`. Every beginning is a fresh runtime, which reads its positions from the store again."""

    def __init__(self, begin: Callable[[], BatchRuntime]) -> None:
        self._begin = begin
        self._current = begin()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Returns after `stop`; raises what the projector raised, save that it was overtaken."""
        while True:
            try:
                await self._current.run()
                return
            except OvertakenError as overtaken:
                _log.warning("beginning anew where the store stands: %s", overtaken)
            if await self._paused():
                return
            self._current = self._begin()

    async def ready(self) -> None:
        await self._current.ready()

    async def stop(self) -> None:
        self._stopping.set()
        await self._current.stop()

    async def _paused(self) -> bool:
        """True when it was stopped meanwhile."""
        try:
            async with asyncio.timeout(PAUSE_S):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
