"""How a partition becomes ours. Its order is what lets no two owners decide with the same states (docs/adr/0003)."""

from __future__ import annotations

import asyncio
import logging
from typing import Generic

from aiokafka import TopicPartition

from streams.runtime.commits import Commits
from streams.runtime.effects import EffectsLog
from streams.runtime.model import Fenced, RuntimeFailed, S
from streams.runtime.stopwatch import Stopwatch
from streams.runtime.surroundings import Restore, Surroundings

log = logging.getLogger(__name__)


class Opening(Generic[S]):
    """Fence, position, states, fence held: exactly in this order."""

    def __init__(
        self, tp: TopicPartition, around: Surroundings[S], commits: Commits, effects: EffectsLog[S], restore: Restore | None
    ) -> None:
        self._tp = tp
        self._source = around.source
        self._group = around.settings.group
        self._commits = commits
        self._effects = effects
        self._restore = restore
        self._committed: int | None = None
        """Where the group stood when this owner came."""

    async def run(self, watch: Stopwatch) -> int:
        """Returns the offset to begin at. Raises Fenced when another came meanwhile, RuntimeFailed for a topic made anew."""
        await self._commits.open()
        watch.lap("fence")
        position = await self._first_position()
        watch.lap("position")
        self._source.seek(self._tp, position)
        self._effects.begin(position)
        if self._restore is not None:
            await self._restore_states(self._restore)
            watch.lap("states")
            await self._hold_fence(position)
            watch.lap("fence held")
        return position

    async def _first_position(self) -> int:
        tp = self._tp
        committed = self._committed = await self._source.committed(tp)
        beginning, end = (await self._source.bounds([tp]))[tp]
        if committed is None:
            return beginning
        if committed > end:
            raise RuntimeFailed(
                f"{self._group} has handled {tp.topic}-{tp.partition} up to {committed}, it ends at {end}: "
                "was the topic created anew? Then delete the group's offsets and empty its changelog"
            )
        if committed < beginning:
            gone = beginning - committed
            log.error("%s: retention has deleted %d offsets of %s that were never handled", self._group, gone, tp)
        return max(committed, beginning)

    async def _restore_states(self, restore: Restore) -> None:
        store = self._effects.store
        store.next_offset = await restore(store)
        store.known_at = asyncio.get_running_loop().time()

    async def _hold_fence(self, position: int) -> None:
        """Raises Fenced when another owner came while we read: it may have moved the states on from the position we know."""
        if self._committed is not None:
            await self._commits.commit(position, ())
        elif await self._source.committed(self._tp) is not None:
            raise Fenced(f"{self._group} has lost {self._tp} to another owner while it was opening it")
