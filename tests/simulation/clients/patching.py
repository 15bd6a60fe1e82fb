"""Puts the in-memory clients in the place of aiokafka's, for as long as a schedule runs. The runtime itself is not changed."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import aiokafka.admin.client
import aiokafka.client
import aiokafka.consumer.consumer
import aiokafka.producer.producer

import agents.meter
import streams.core.graph
import streams.runtime
from schemas.workflow.templates import Template
from streams.runtime.broker import client, producer
from streams.runtime.broker.client import PatientClient
from streams.runtime.broker.fetching import Fetching
from streams.runtime.broker.outages import Outages
from streams.runtime.broker.producer import BatchProducer
from tests.simulation.broker.broker import Broker
from tests.simulation.clients.asking import ask, told
from tests.simulation.clients.batches import SimulatedBatchProducer, SimulatedFetching, records_of
from tests.simulation.clients.connection import connect
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


def _client(**config: Any) -> Any:
    process = _process()
    if process.world.broker.brokers is not None:
        return PatientClient(**config)
    return Client(process.world.broker, process)


def _batch_producer(**config: Any) -> Any:
    process = _process()
    if process.world.broker.brokers is not None:
        return BatchProducer(**config)
    return SimulatedBatchProducer(process.world.broker, process, **config)


def fetching(bootstrap: str, **config: Any) -> Any:
    """Streams' own where there are several brokers to ask."""
    process = _process()
    if process.world.broker.brokers is not None:
        return Fetching(bootstrap, **config)
    return SimulatedFetching(process.world.broker, process)


async def _topic_ids(bootstrap: str, topics: Iterable[str]) -> dict[str, bytes]:
    return {topic: topic.encode().ljust(16)[:16] for topic in topics}


class Dice:
    """The module `random`, as seen by the process that runs: thrown by the world."""

    @staticmethod
    def shuffle(values: list[Any]) -> None:
        _process().world.random.shuffle(values)

    @staticmethod
    def sample(values: Sequence[Any], count: int) -> list[Any]:
        return _process().world.random.sample(values, count)

    @staticmethod
    def choice(values: Sequence[Any]) -> Any:
        return _process().world.random.choice(values)


def _outages(_: PatientClient) -> Outages:
    """A machine's knowledge of brokers is that of its process here."""
    process = _process()
    known = _known.get(process)
    if known is None:
        known = _known[process] = Outages(process.time)
    return known


_known: WeakKeyDictionary[Process, Outages] = WeakKeyDictionary()


class Clock:
    """The module `time`, as seen by the process that runs."""

    @staticmethod
    def time_ns() -> int:
        return int(_process().world.broker.now_ms()) * 1_000_000


BELOW: tuple[tuple[Any, str, Any], ...] = (
    (aiokafka.client, "create_conn", connect),
    (aiokafka.client, "collect_hosts", partial(aiokafka.client.collect_hosts, randomize=False)),
    (aiokafka.client, "random", Dice),
    (client, "create_conn", connect),
    (client, "random", Dice),
    (PatientClient, "outages", property(_outages)),
    (producer, "time", Clock),
)
"""What the real clients stand on where there are several brokers."""


AIOKAFKAS: tuple[Any, ...] = (aiokafka.consumer.consumer, aiokafka.producer.producer, aiokafka.admin.client)

MADE = {
    "AIOKafkaProducer": _producer,
    "AIOKafkaConsumer": _consumer,
    "PatientClient": _client,
    "BatchProducer": _batch_producer,
    "Fetching": fetching,
    "_records": records_of,
    "topic_ids": _topic_ids,
}


def _of_the_dead(left: Any) -> bool:
    """A process that was killed runs nothing more, not even what a `finally` would like to wait for."""
    return isinstance(left.exc_value, RuntimeError) and "ignored GeneratorExit" in str(left.exc_value)


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
    disabled, unraisable = logging.root.manager.disable, sys.unraisablehook
    with ExitStack() as patches:
        patches.enter_context(quick_templates())
        for name, module in list(sys.modules.items()):
            if name.startswith("streams.runtime."):
                for attribute, fake in MADE.items():
                    if hasattr(module, attribute):
                        patches.enter_context(mock.patch.object(module, attribute, fake))
        for module, attribute, fake in BELOW:
            patches.enter_context(mock.patch.object(module, attribute, fake))
        for module in AIOKAFKAS:  # as they are, and again afterwards: inside, `use_patient_clients` gives them ours
            patches.enter_context(mock.patch.object(module, "AIOKafkaClient", module.AIOKafkaClient))
        for kind in metered:
            kind.__init__.__kwdefaults__ = {"clock": lambda: _process().world.now}
        logging.disable(logging.CRITICAL)
        sys.unraisablehook = lambda left: None if _of_the_dead(left) else unraisable(left)
        try:
            yield
        finally:
            gc.collect()
            sys.unraisablehook = unraisable
            logging.disable(disabled)
            for kind, defaults in zip(metered, before, strict=True):
                kind.__init__.__kwdefaults__ = defaults
