"""Decides: folds `conversation.events` through the reducer. No rules here; they are in streams.core.reducer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from schemas.base import Event
from schemas.codec import Undecodable
from schemas.events import CancelRequested, MessageReceived, NodeBegun, NodeCompleted, RerunRequested, TimerFired
from schemas.ids import derive
from schemas.topics import DAY_MS
from streams.core import limits
from streams.core.reducer import decide
from streams.core.state import Conversation, Timer, idle_timer
from streams.definitions import Definitions
from streams.idle import IdleConversations
from streams.runtime import PartitionView, Record, SetAside, Step, UnreadableState
from streams.runtime.model import KEY_SHOWN
from streams.runtime.publisher import key_hash
from streams.timers import DueTimers
from streams.wire import incoming, outgoing

log = logging.getLogger(__name__)

LATE_MS = 60_000
"""An event that is read so long after it happened has waited: its partition was not read, or not fast enough."""
MOST_GRACE_MS = 3_600_000


class Conversations:
    def __init__(
        self,
        definitions: Definitions,
        *,
        clock_ms: Callable[[], int],
        ttl_ms: int = 30 * DAY_MS,
        partitions: int | None = None,
    ) -> None:
        """`ttl_ms`: how long a conversation may be idle before it is forgotten.

        `partitions`: how many the topic has. What lies on another than that of its conversation is refused, for there it would
        begin a second one of the same name. None: it is taken where it is.
        """
        self._partitions = partitions
        self._definitions = definitions
        self._clock_ms = clock_ms
        self._ttl_ms = ttl_ms
        self._timers: dict[int, DueTimers[tuple[str, Timer]]] = {}
        self._idle: dict[int, IdleConversations] = {}
        self._late: dict[int, int] = {}
        """When a partition last had an event that had waited. What it says of idle times is as old as that."""

    async def handle(self, record: Record, step: Step[Conversation]) -> None:
        event = incoming(record, *TAKEN)
        before = _before(step, event.conversation_id)
        if before is None:
            self._need_place(event.conversation_id, step.partition)
        if (missing := self._missing(event, before)) is not None and not step.waited:
            raise SetAside(lambda: self._definitions.arrival(missing))
        try:
            decision = decide(before, event, self._definitions.graphs)
            outs = [outgoing(output) for output in decision.outputs]
        except Exception as defect:  # pure: it would be the same another time
            log.exception("nothing can be decided about %s-%d@%d", record.topic, record.partition, record.offset)
            raise Undecodable("undecidable", f"nothing can be decided about it: {type(defect).__name__}: {defect}") from defect
        if decision.refusal is not None:
            raise Undecodable(decision.refusal.code, decision.refusal.reason)
        for out in outs:
            step.publish(out)
        if before is None and decision.conversation is None:
            return
        step.put(event.conversation_id, decision.conversation)
        if decision.conversation is not None:
            now = self._clock_ms()
            if now - event.time_ms > LATE_MS:
                self._late[step.partition] = now
            self._remember(step.partition, event.conversation_id, decision.conversation, before, now)

    def _need_place(self, conversation_id: str, partition: int) -> None:
        """Raises Undecodable."""
        if self._partitions is None or (place := key_hash(conversation_id.encode()) % self._partitions) == partition:
            return
        raise Undecodable(
            "wrong_partition",
            f"its conversation belongs on partition {place}: its writer has another hash. Retry the letter, which puts it there; "
            "write with the id of the conversation as key and the hash of the Java client (murmur2)",
        )

    def _missing(self, event: Event, before: Conversation | None) -> str | None:
        """The digest of a definition that this decision needs and that is not known here, at least not yet."""
        graphs = self._definitions.graphs
        if isinstance(event, (MessageReceived, RerunRequested)) and event.digest not in graphs:
            return event.digest
        if before is None:
            return None
        if before.run is not None and before.run.message.digest not in graphs:
            return before.run.message.digest
        return before.queue[0].digest if before.queue and before.queue[0].digest not in graphs else None

    def opened(self, partition: PartitionView[Conversation]) -> None:
        """The partition is ours and restored: timers that came due meanwhile fire now."""

        def fire(due: tuple[str, Timer]) -> None:
            conversation_id, timer = due
            conversation = partition.get(conversation_id)
            if conversation is None or timer not in conversation.timers:
                return  # what it was to remind of has happened
            now = self._clock_ms()
            again_ms = limits.look_again_ms(conversation, timer, now)
            if again_ms is not None:
                timers.add(again_ms, due)
                return
            fired = TimerFired(
                id=derive(timer.timer_id, "fired"),
                time_ms=max(now, timer.due_ms),
                conversation_id=conversation_id,
                timer_id=timer.timer_id,
                due_ms=timer.due_ms,
            )
            partition.publish(outgoing(fired))

        timers = self._timers[partition.partition] = DueTimers(fire, self._clock_ms)
        idle = self._idle[partition.partition] = IdleConversations(
            lambda conversation_id: self._look(partition, conversation_id), self._clock_ms, self._ttl_ms
        )
        now = self._clock_ms()
        for conversation_id, conversation in partition.items():
            for timer in conversation.timers:
                timers.add(limits.restored_ms(timer, now), (conversation_id, timer))
            idle.add(conversation_id, (conversation.idle_ms or now) + self._ttl_ms)

    def closed(self, partition: int) -> None:
        self._late.pop(partition, None)
        for waiting in (self._timers.pop(partition, None), self._idle.pop(partition, None)):
            if waiting is not None:
                waiting.close()

    def _look(self, partition: PartitionView[Conversation], conversation_id: str) -> int | None:
        """Ask for the end of a conversation that was idle for its time to live. When to look again, in ms; None: it is gone.

        Whether it ends is decided like everything else, by the event's place among the others.
        """
        conversation, now = partition.get(conversation_id), self._clock_ms()
        if conversation is None:
            return None
        due_ms = conversation.idle_ms + self._ttl_ms
        if not conversation.idle_ms or due_ms > now:
            return due_ms if conversation.idle_ms else now + self._ttl_ms
        late_ms, grace_ms = self._late.get(partition.partition), min(self._ttl_ms, MOST_GRACE_MS)
        if late_ms is not None and now < late_ms + grace_ms and now < due_ms + DAY_MS:
            return late_ms + grace_ms  # it had its answer later than its state says, and may still answer
        timer_id = idle_timer(conversation_id, conversation)
        fired = TimerFired(
            id=derive(timer_id, "fired"), time_ms=now, conversation_id=conversation_id, timer_id=timer_id, due_ms=due_ms
        )
        partition.publish(outgoing(fired))
        return now + self._ttl_ms

    def _remember(self, partition: int, conversation_id: str, after: Conversation, before: Conversation | None, now: int) -> None:
        if before is None:
            self._idle[partition].add(conversation_id, now + self._ttl_ms)
        known = before.timers if before is not None else ()
        for timer in after.timers:
            if timer not in known:
                new = all(other.timer_id != timer.timer_id for other in known)
                self._timers[partition].add(limits.set_ms(timer, now, new=new), (conversation_id, timer))


TAKEN = (MessageReceived, NodeBegun, NodeCompleted, TimerFired, RerunRequested, CancelRequested)
"""What happens to conversations."""


def _before(step: Step[Conversation], conversation_id: str) -> Conversation | None:
    """Raises Undecodable, with the way out, when nobody can say what was decided: it must not begin anew in silence."""
    try:
        return step.get(conversation_id)
    except UnreadableState as fault:
        raise Undecodable(
            fault.code,
            f"what is remembered of conversation {conversation_id[:KEY_SHOWN]!r} cannot be read ({fault.why}). "
            "Make it again from the log with `hil replay restore CONVERSATION`, then retry its dead letters",
        ) from fault
