"""What a process tells Prometheus of itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.router.breakers import ModelState
from agents.router.health import Health

STATE_VALUES: dict[ModelState, int] = {"closed": 0, "half_open": 1, "cooling": 2, "open": 3}
"""As in the view `circuit_breaker_state`."""
_VALUES = ", ".join(f"{value} {state.replace('_', '-')}" for state, value in STATE_VALUES.items())


def process_metrics() -> CollectorRegistry:
    """The processor's time, memory and files of this process, to which others are added."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


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
            "llm_provider_key_state", f"Whether this process asks models behind a provider's key: {_VALUES}.", labels=["provider"]
        )
        for provider in self._providers:
            locks.add_metric([provider], STATE_VALUES[keys.get(provider, "closed")])
        yield locks
