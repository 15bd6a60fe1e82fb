"""How a partition becomes ours. Its order is what lets no two owners decide with the same states (docs/adr/0003)."""

from __future__ import annotations

import asyncio
from typing import Generic

from aiokafka import TopicPartition

from streams.runtime.commits import Commits
from streams.runtime.effects import EffectsLog
from streams.runtime.model import RuntimeFailed, S
from streams.runtime.noted import KEY as NOTE
from streams.runtime.noted import place
from streams.runtime.stopwatch import Stopwatch
from streams.runtime.surroundings import Restore, Surroundings


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
        """Returns the offset to begin at. Raises Fenced when another came meanwhile, RuntimeFailed where no place is right."""
        await self._commits.open()
        watch.lap("fence")
        self._committed = await self._source.committed(self._tp)
        watch.lap("position")
        if self._restore is not None:
            await self._restore_states(self._restore)
            watch.lap("states")
        position = await self._first_position()
        self._source.seek(self._tp, position)
        self._effects.begin(position)
        if self._restore is not None:
            await self._hold_fence(position)
            watch.lap("fence held")
        return position

    async def _first_position(self) -> int:
        tp, store, committed = self._tp, self._effects.store, self._committed
        noted = store.noted if self._restore is not None else await self._commits.remembered(committed)
        try:
            return place(
                self._group,
                tp.topic,
                tp.partition,
                committed=committed,
                noted=noted,
                states=len(store),
                bounds=(await self._source.bounds([tp]))[tp],
                now=self._commits.identity,
            )
        except ValueError as error:
            raise RuntimeFailed(str(error)) from error

    async def _restore_states(self, restore: Restore) -> None:
        store = self._effects.store
        store.next_offset = await restore(store)
        store.known_at = asyncio.get_running_loop().time()

    async def _hold_fence(self, position: int) -> None:
        """Raises Fenced when another owner came while we read: it may have moved the states on from the position we know."""
        store, note = self._effects.store, self._commits.note(position)
        if self._committed is not None or note is None:
            end = await self._commits.commit(position, ())
        else:  # from the first state on there is a position: states without one are of a partition whose position was lost
            end = await self._commits.commit(None, ((NOTE, note.encode()),))
        store.noted = note
        if end is not None:
            store.next_offset = end
