"""The attack: everything a stranger or a broken part can write, chosen by a seeded random, until it is told to stop."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.hostile import definitions, garbage, payloads, programs
from tests.hostile.payloads import Item

EVERY_S = {"message": 0.2, "garbage": 0.5, "definition": 4.0, "program": 4.0, "burst": 20.0}
"""Seconds between two of a kind."""
WORKFLOW = "hostile"
DEFINITION = {
    "name": WORKFLOW,
    "version": "1.0.0",
    "composio": {"apps": [{"name": "shopify", "entity_id_source": "customer_id", "actions": ["get_order"]}]},
    "entities": {"customer_id": "storefront"},
    "workflow": {
        "nodes": [
            {
                "id": "program",
                "agent": "autonomous_return_agent",
                "goal": "Do as the customer says: {{ text }}",
                "config": {"model_profile": "fast", "max_retries": 0, "allowed_tools": ["shopify.get_order"]},
                "timeout_seconds": 30,
                "retry": {"max_attempts": 1},
            }
        ],
        "edges": [{"from": "program", "to": "END"}],
    },
}
SAYING = {
    "name": f"{WORKFLOW}_answers",
    "version": "1.0.0",
    "workflow": {
        "nodes": [
            {
                "id": "classify",
                "agent": "simple_intent_classifier",
                "prompt_template": "What is it? {{ text }}",
                "config": {
                    "model_profile": "fast",
                    "output_schema": {"type": "object", "properties": {"intent": {"type": "string"}}},
                },
                "retry": {"max_attempts": 1},
                "on_error": "continue",
            },
            {
                "id": "reason",
                "agent": "reasoning_support_agent",
                "task": "Say something: {{ text }}",
                "config": {"model_profile": "fast", "max_iterations": 2},
                "retry": {"max_attempts": 1},
            },
        ],
        "edges": [{"from": "classify", "to": "reason"}, {"from": "reason", "to": "END"}],
    },
}


@dataclass
class Attack:
    bootstrap: str
    topics: Sequence[str]
    """Where garbage goes."""
    chance: random.Random
    kinds: Sequence[str] = tuple(EVERY_S)
    done: Counter[str] = field(default_factory=Counter)
    """Records by kind."""
    diary: list[tuple[float, str]] = field(default_factory=list)
    """When, on the monotonic clock, and what: to be laid beside what happened."""
    refused: Counter[str] = field(default_factory=Counter)
    """What the broker or the client would not take."""
    _producers: dict[str | None, AIOKafkaProducer] = field(default_factory=dict)

    async def run(self, until: float) -> None:
        """Until `until` on the monotonic clock."""
        loops = [asyncio.create_task(self._loop(kind, until)) for kind in self.kinds]
        try:
            for loop in asyncio.as_completed(loops):
                await loop
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _loop(self, kind: str, until: float) -> None:
        due = time.monotonic() + EVERY_S[kind] * self.chance.random()
        running = itertools.cycle(self._shuffled(programs.PROGRAMS))
        saying = itertools.cycle(self._shuffled(programs.ANSWERS))
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            match kind:
                case "message":
                    await self._send("message", payloads.small(self.chance))
                case "garbage":
                    await self._send("garbage", garbage.record(self.chance, self.topics))
                case "definition":
                    await self._define()
                case "program":
                    await self._send(kind, payloads.programs(self.chance, running, "program", WORKFLOW))
                    await self._send(kind, payloads.programs(self.chance, saying, "says", f"{WORKFLOW}_answers"))
                case "burst":
                    chosen = payloads.burst(self.chance)
                    self.diary.append((time.monotonic(), f"burst: {chosen.kind}"))
                    await asyncio.gather(*(self._send("burst", item) for item in chosen.items))
            due = max(due + EVERY_S[kind], time.monotonic() - 1)

    def _shuffled(self, names: Sequence[str] | dict[str, object]) -> list[str]:
        return self.chance.sample(list(names), len(names))

    async def prepare(self) -> None:
        """The workflows whose nodes run what the hostile model says."""
        for body, agents in (
            (DEFINITION, {"autonomous_return_agent": "code"}),
            (SAYING, {"simple_intent_classifier": "simple", "reasoning_support_agent": "reasoning"}),
        ):
            await self._send("definition", definitions.published(body, agents=agents))

    async def _define(self) -> None:
        kind, item, name = definitions.broken(self.chance)
        self.diary.append((time.monotonic(), f"definition: {kind}"))
        await self._send("definition", item)
        if name is not None:
            await asyncio.sleep(0.5)
            body = {"text": "hello", "conversation_id": payloads.fresh(), "workflow": name}
            await self._send("definition", Item("message to it", payloads._dump(body)))

    async def _send(self, kind: str, item: Item) -> None:
        self.diary.append((time.monotonic(), item.kind))
        try:
            producer = await self._producer(item.compression)
            await producer.send_and_wait(
                item.topic,
                item.value,
                key=item.key,
                headers=list(item.headers),
                timestamp_ms=item.timestamp_ms,
                partition=item.partition,
            )
            self.done[kind] += 1
        except (KafkaError, ValueError, UnicodeError, OverflowError) as error:
            self.refused[f"{item.kind}: {type(error).__name__}"] += 1

    async def _producer(self, compression: str | None) -> AIOKafkaProducer:
        if compression not in self._producers:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap,
                compression_type=compression,
                max_request_size=120 << 20,
                max_batch_size=120 << 20 if compression else 16384,
                linger_ms=100 if compression else 0,
                request_timeout_ms=20_000,
            )
            self._producers[compression] = producer
            await producer.start()
        return self._producers[compression]

    async def stop(self) -> None:
        for producer in self._producers.values():
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), 10)

    def around(self, at: float, before_s: float = 10.0, after_s: float = 1.0) -> list[str]:
        """What was done shortly before `at`."""
        return [f"{when - at:+.1f} s {what}" for when, what in self.diary if at - before_s < when < at + after_s]


@asynccontextmanager
async def attacking(bootstrap: str, topics: Sequence[str], seed: int, kinds: Sequence[str]) -> AsyncIterator[Attack]:
    attack = Attack(bootstrap, topics, random.Random(seed), kinds)
    try:
        yield attack
    finally:
        await attack.stop()
