"""Requests that are asked again until they are answered, as aiokafka does with everything that may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from tests.simulation.broker.broker import Answer, Broker, Lost
from tests.simulation.world import Process

BACKOFF_S = 0.1
MOVED = (kafka_errors.NotLeaderForPartitionError, kafka_errors.NotCoordinatorForGroupError)
"""Another broker is the right one now."""
RETRIED = (Lost, kafka_errors.ConcurrentTransactions, *MOVED)


async def ask(
    broker: Broker,
    process: Process,
    kind: str,
    request: Callable[[Answer], None],
    *,
    backoff_s: float = BACKOFF_S,
    place: TopicPartition | None = None,
) -> Any:
    while True:
        try:
            return await broker.ask(process, kind, request, place)
        except RETRIED:
            await asyncio.sleep(backoff_s)


def told(what: Callable[..., Any], *args: Any) -> Callable[[Answer], None]:
    """A request whose answer is what a function of the broker returns."""
    return lambda answer: answer(what(*args))
