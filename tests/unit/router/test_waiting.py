"""To be refused without being asked is no failed attempt: a call waits for whom it may ask, as long as its node has time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents.errors import Fatal, Retryable
from agents.router.budget import OverBudget
from agents.router.request import CallContext
from agents.router.router import Router
from tests.unit.router.worlds import World, fails, replies, says

PATIENT = CallContext(conversation_id="c", workflow="w@1.0.0", node_id="n", patience_s=300.0)
HASTY = replace(PATIENT, patience_s=0.0)


def waiting(world: World) -> tuple[list[float], Router]:
    """A router whose waits pass at once, and how long they were."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        world.clock.now += seconds
        await asyncio.sleep(0)

    return waits, world.router(sleep=sleep)


def everywhere(world: World, behaviour) -> None:
    world.openai.behaves = world.anthropic.behaves = dict.fromkeys(world.models, behaviour)


async def test_after_an_outage_everybody_is_answered_once_the_provider_is_well_again():
    """Eight failed calls open the breakers; twenty messages find them open, then half-open with one call finding out."""
    world = World()
    _, router = waiting(world)
    everywhere(world, fails())
    for _ in range(8):
        with pytest.raises(Retryable):
            await router.bound(HASTY).complete(says("Hello"))
    everywhere(world, replies())
    answered = await asyncio.gather(*(router.bound(PATIENT).complete(says("Hello")) for _ in range(20)))
    assert [reply.text for reply in answered] == ["hello"] * 20


async def test_who_waited_has_no_attempt_in_the_books_for_it():
    world = World()
    waits, router = waiting(world)
    everywhere(world, fails("cool_down", "http_429", retry_after_s=30.0))
    with pytest.raises(Retryable):
        await router.bound(HASTY).complete(says("Hello"))
    everywhere(world, replies())
    reply = await router.bound(PATIENT).complete(says("Hello"))
    assert [each.outcome for each in reply.attempts] == ["ok"]
    assert 30 <= sum(waits) <= 36


async def test_it_does_not_wait_for_longer_than_its_node_has():
    world = World()
    waits, router = waiting(world)
    everywhere(world, fails("cool_down", "http_429", retry_after_s=300.0))
    with pytest.raises(Retryable):
        await router.bound(HASTY).complete(says("Hello"))
    with pytest.raises(Retryable, match="Try again in 300 s") as raised:
        await router.bound(replace(PATIENT, patience_s=60.0)).complete(says("Hello"))
    assert (waits, raised.value.reached) == ([], False)


async def test_what_no_wait_will_mend_is_said_at_once():
    world = World()
    waits, router = waiting(world)
    everywhere(world, fails("key_broken", "http_401"))
    for _ in range(2):
        with pytest.raises(Fatal):
            await router.bound(PATIENT).complete(says("Hello"))
    assert waits == []


async def test_a_budget_that_is_only_held_is_waited_for():
    class Held:
        times = 3

        async def reserve(self, micro_usd: int):
            if self.times:
                self.times -= 1
                raise OverBudget("held by others", "workflow w", held=True)
            return self

        async def settle(self, actual_micro_usd: int) -> None: ...

        async def release(self) -> None: ...

        def tightness(self):
            return "ok"

    world = World()
    world.profiles = {"fast": replace(world.profiles["fast"], primary=("claude-3-haiku",), fallback=())}
    waits, router = waiting(world)
    reply = await router.bound(PATIENT).complete(says("Hello", budget=Held()))
    assert (reply.text, len(waits)) == ("hello", 3)
