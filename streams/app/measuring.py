"""What a process tells Prometheus of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.router.breakers import ModelState
from agents.router.health import Health
from agents.router.router import Router
from connectors.cli.ports import CannotGoOn, Report
from connectors.metrics import MetricsError, serving
from streams.runtime import Fetching
from streams.runtime.broker.unread import Unread

STATE_VALUES: dict[ModelState, int] = {"closed": 0, "half_open": 1, "cooling": 2, "open": 3}
"""As in the view `circuit_breaker_state`."""
_VALUES = ", ".join(f"{value} {state.replace('_', '-')}" for state, value in STATE_VALUES.items())


class Measures:
    """Of one process: its CPU, memory and files, and what else it is told to watch."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

    def watch(self, router: Router) -> None:
        """Which of the models and keys it could ask it leaves alone."""
        asked = [model.name for model in router.models.values() if model.provider in router.providers]
        self.registry.register(HealthMetrics(router.health, asked, router.providers))

    def watch_reading(self, fetching: Fetching) -> None:
        """Whether every partition that is wanted is read."""
        self.registry.register(ReadingMetrics(fetching.unread))


@asynccontextmanager
async def measuring(address: str, report: Report) -> AsyncIterator[Measures]:
    """Serve the measures of this process while it runs. Raises CannotGoOn when the address cannot be had."""
    measures = Measures()
    try:
        async with serving(address, measures.registry) as url:
            report(f"metrics are at {url}")
            yield measures
    except MetricsError as error:
        raise CannotGoOn(str(error)) from error


class ReadingMetrics(Collector):
    """Partitions that are wanted and have not been read for a second: more than none is a fault, of brokers or of ours."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "kafka_partitions_unread", "Partitions wanted and not read at the moment.", value=self._unread.now
        )
        yield CounterMetricFamily(
            "kafka_partitions_left_unread", "How often a wanted partition was not read for a second.", value=self._unread.total
        )


class HealthMetrics(Collector):
    """The state of every model that may be asked, and of every key, when somebody looks."""

    def __init__(self, health: Health, models: Iterable[str], providers: Iterable[str]) -> None:
        self._health = health
        self._models, self._providers = sorted(models), sorted(providers)

    def collect(self) -> Iterator[Metric]:
        models, keys = self._health.shown(), self._health.keys()
        breakers = GaugeMetricFamily("circuit_breaker_state", f"Whether this process asks a model: {_VALUES}.", labels=["model"])
        for model in self._models:
            breakers.add_metric([model], STATE_VALUES[models.get(model, "closed")])
        yield breakers
        locks = GaugeMetricFamily(
            "llm_provider_key_state",
            f"Whether this process asks models behind a provider's key, or the worst of them: {_VALUES}.",
            labels=["provider"],
        )
        for provider in self._providers:
            states = [state for name, state in keys.items() if name == provider or name.startswith(f"{provider}/")]
            locks.add_metric([provider], max((STATE_VALUES[state] for state in states), default=STATE_VALUES["closed"]))
        yield locks
