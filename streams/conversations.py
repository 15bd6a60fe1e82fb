"""Decides: folds `conversation.events` through the reducer. No rules here; they are in streams.core.reducer."""

from __future__ import annotations

from collections.abc import Callable

from schemas.events import CancelRequested, MessageReceived, NodeCompleted, RerunRequested, TimerFired
from schemas.ids import derive
from streams.core.reducer import decide
from streams.core.state import Conversation, Timer
from streams.definitions import Definitions
from streams.runtime import PartitionView, Record, Step
from streams.timers import DueTimers
from streams.wire import incoming, outgoing


class Conversations:
    def __init__(self, definitions: Definitions, *, clock_ms: Callable[[], int]) -> None:
        self._definitions = definitions
        self._clock_ms = clock_ms
        self._timers: dict[int, DueTimers[tuple[str, Timer]]] = {}

    async def handle(self, record: Record, step: Step[Conversation]) -> None:
        event = incoming(record, MessageReceived, NodeCompleted, TimerFired, RerunRequested, CancelRequested)
        if isinstance(event, (MessageReceived, RerunRequested)):
            await self._definitions.arrival(event.digest)
        before = step.get(event.conversation_id)
        decision = decide(before, event, self._definitions.graphs)
        for output in decision.outputs:
            step.publish(outgoing(output))
        step.put(event.conversation_id, decision.conversation)
        if decision.conversation.timers:
            self._remember(step.partition, event.conversation_id, decision.conversation, before)

    def opened(self, partition: PartitionView[Conversation]) -> None:
        """The partition is ours and restored: timers that came due meanwhile fire now."""

        def fire(due: tuple[str, Timer]) -> None:
            conversation_id, timer = due
            conversation = partition.get(conversation_id)
            if conversation is None or timer not in conversation.timers:
                return  # what it was to remind of has happened
            fired = TimerFired(
                id=derive(timer.timer_id, "fired"),
                time_ms=max(self._clock_ms(), timer.due_ms),
                conversation_id=conversation_id,
                timer_id=timer.timer_id,
                due_ms=timer.due_ms,
            )
            partition.publish(outgoing(fired))

        timers = self._timers[partition.partition] = DueTimers(fire, self._clock_ms)
        for conversation_id, conversation in partition.items():
            for timer in conversation.timers:
                timers.add(timer.due_ms, (conversation_id, timer))

    def closed(self, partition: int) -> None:
        timers = self._timers.pop(partition, None)
        if timers is not None:
            timers.close()

    def _remember(self, partition: int, conversation_id: str, after: Conversation, before: Conversation | None) -> None:
        known = before.timers if before is not None else ()
        for timer in after.timers:
            if timer not in known:
                self._timers[partition].add(timer.due_ms, (conversation_id, timer))
