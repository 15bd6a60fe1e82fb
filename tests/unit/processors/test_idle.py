"""Idle conversations are found by the time of their own records, and a million waiting ones are cheap."""

from __future__ import annotations

import asyncio
import tracemalloc

from schemas.events import TimerFired
from streams.conversations import Conversations
from streams.core.state import Conversation, idle_timer
from streams.definitions import Definitions
from streams.idle import IdleConversations
from tests.support.steps import FakeView


class Clock:
    """Ours to move; the loop is only told that something is due."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


async def test_each_is_looked_at_when_it_comes_due_and_again_when_it_says():
    clock, seen = Clock(), list[tuple[int, str]]()

    def look(name: str) -> int | None:
        seen.append((clock.now_ms, name))
        return clock.now_ms + 10_000 if len(seen) == 1 else None

    idle = IdleConversations(look, clock, ttl_ms=64_000)
    idle.add("a", 1_005_000)
    idle.add("b", 1_020_000)
    idle._ring()
    assert seen == []
    clock.now_ms = 1_006_000
    idle._ring()
    assert seen == [(1_006_000, "a")]
    clock.now_ms = 1_021_000
    idle._ring()
    assert sorted(seen[1:]) == [(1_021_000, "a"), (1_021_000, "b")]
    assert len(idle) == 0
    idle.close()


async def test_many_that_come_due_at_once_leave_others_their_turn():
    clock, seen = Clock(), list[str]()
    idle = IdleConversations(lambda name: seen.append(name), clock, ttl_ms=1_000)
    for number in range(1_200):
        idle.add(f"c{number}", 999_000)
    idle._ring()
    assert len(seen) == 500
    while len(idle):
        await asyncio.sleep(0)
        idle._ring()
    assert len(set(seen)) == 1_200
    idle.close()


async def test_a_waiting_conversation_takes_a_few_bytes():
    names = [f"conversation-{number}" for number in range(100_000)]
    idle = IdleConversations(lambda name: None, Clock(), ttl_ms=30 * 86_400_000)
    tracemalloc.start()
    try:
        for number, name in enumerate(names):
            idle.add(name, 1_000_000 + number * 25_000)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / len(names) < 16
    idle.close()


async def test_a_partition_that_is_opened_asks_for_the_end_of_what_has_been_idle_too_long():
    clock = Clock(10_000_000)
    long_idle, lately = Conversation(ordinal=2, idle_ms=1_000_000), Conversation(ordinal=2, idle_ms=9_999_000)
    unknown = Conversation(ordinal=2)
    view = FakeView({"long": long_idle, "lately": lately, "unknown": unknown})
    processor = Conversations(Definitions(), clock_ms=clock, ttl_ms=64_000)
    processor.opened(view)
    processor._idle[0]._ring()
    [out] = view.outs
    [fired] = _events(view)
    assert out.key == b"long"
    assert (fired.timer_id, fired.due_ms, fired.time_ms) == (idle_timer("long", long_idle), 1_064_000, 10_000_000)
    clock.now_ms += 66_000
    processor._idle[0]._ring()
    assert [event.conversation_id for event in _events(view)] == ["long", "long", "lately"] or [
        event.conversation_id for event in _events(view)
    ] == ["long", "lately", "long"], "asked again as long as it is there, and never for what nobody knows"
    processor.closed(0)


def _events(view: FakeView) -> list[TimerFired]:
    from schemas.codec import decode

    found = [decode(out.value, out.headers) for out in view.outs]
    assert all(isinstance(event, TimerFired) for event in found)
    return found  # type: ignore[return-value]
