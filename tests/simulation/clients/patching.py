"""Puts the in-memory clients in the place of aiokafka's, for as long as a schedule runs. The runtime itself is not changed."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any
from unittest import mock

import agents.meter
import streams.core.graph
import streams.runtime
from schemas.workflow.templates import Template
from tests.simulation.broker.broker import Broker
from tests.simulation.clients.asking import ask, told
from tests.simulation.clients.batches import SimulatedBatchProducer, SimulatedFetching, records_of
from tests.simulation.clients.consumer import Consumer
from tests.simulation.clients.producer import Producer
from tests.simulation.world import Process

_cached_template = lru_cache(maxsize=4096)(Template)
"""Compiling a template is pure, and slow beside everything else here."""


class Client:
    """PatientClient as far as `partition_counts` uses it."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker, self._process = broker, process

    async def bootstrap(self) -> None: ...

    async def close(self) -> None: ...

    async def fetch_all_metadata(self) -> Any:
        broker = self._broker

        class Cluster:
            def partitions_for_topic(self, name: str) -> set[int] | None:
                topic = broker.topics.get(name)
                return None if topic is None else set(range(len(topic.logs)))

        return await ask(broker, self._process, "metadata", told(Cluster))


def quick_templates() -> Any:
    """A context in which the reducer's graphs compile each template once."""
    return mock.patch.object(streams.core.graph, "Template", _cached_template)


def _process() -> Process:
    running = asyncio.get_running_loop()
    assert isinstance(running, Process)
    return running


def _producer(**config: Any) -> Producer:
    process = _process()
    return Producer(process.world.broker, process, **config)


def _consumer(**config: Any) -> Consumer:
    process = _process()
    return Consumer(process.world.broker, process, **config)


def _client(**config: Any) -> Client:
    process = _process()
    return Client(process.world.broker, process)


def _batch_producer(**config: Any) -> SimulatedBatchProducer:
    process = _process()
    return SimulatedBatchProducer(process.world.broker, process, **config)


def _fetching(bootstrap: str, **config: Any) -> SimulatedFetching:
    process = _process()
    return SimulatedFetching(process.world.broker, process)


async def _topic_ids(bootstrap: str, topics: Iterable[str]) -> dict[str, bytes]:
    return {topic: topic.encode().ljust(16)[:16] for topic in topics}


MADE = {
    "AIOKafkaProducer": _producer,
    "AIOKafkaConsumer": _consumer,
    "PatientClient": _client,
    "BatchProducer": _batch_producer,
    "Fetching": _fetching,
    "_records": records_of,
    "topic_ids": _topic_ids,
}


@contextmanager
def simulated() -> Iterator[None]:
    """Inside, whatever in streams.runtime makes a Kafka client gets one of the broker of the world it runs in.

    May be entered again inside: a sweep does it once for all of its schedules.
    """
    if vars(streams.core.graph)["Template"] is _cached_template:
        yield
        return
    metered: tuple[Any, ...] = (agents.meter.MeteredModel, agents.meter.MeteredTools)
    before = [kind.__init__.__kwdefaults__ for kind in metered]
    disabled = logging.root.manager.disable
    with ExitStack() as patches:
        patches.enter_context(quick_templates())
        for name, module in list(sys.modules.items()):
            if name.startswith("streams.runtime."):
                for attribute, fake in MADE.items():
                    if hasattr(module, attribute):
                        patches.enter_context(mock.patch.object(module, attribute, fake))
        for kind in metered:
            kind.__init__.__kwdefaults__ = {"clock": lambda: _process().world.now}
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
            for kind, defaults in zip(metered, before, strict=True):
                kind.__init__.__kwdefaults__ = defaults
