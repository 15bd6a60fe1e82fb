"""The metrics page: an address that is taken, and states of models and keys as they are when somebody looks."""

from __future__ import annotations

import re
import socket

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from agents.router.health import Health
from agents.router.ports import ProviderFailure
from connectors.metrics import MetricsError, serving
from streams.app.measuring import HealthMetrics, ReadingMetrics
from streams.runtime.broker.unread import Unread
from tests.unit.router.worlds import model


async def test_an_address_that_is_taken_is_named_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MetricsError, match=re.escape(address) + ".*HIL_METRICS"):
            async with serving(address, CollectorRegistry()):
                pass


def test_each_state_has_its_value_and_what_was_never_called_is_closed() -> None:
    health = Health()
    registry = CollectorRegistry()
    names = ["cooling", "half-open", "open", "well"]
    registry.register(HealthMetrics(health, names, ["anthropic", "openai"]))
    for name, kind in (("cooling", "cool_down"), ("half-open", "try_next"), ("open", "try_next")):
        for _ in range(1 if kind == "cool_down" else 5):
            health.enter(model(name), 0.0).failed(ProviderFailure(kind, "no", code="x"), 0.0)
    health.enter(model("half-open"), 61.0)
    health.enter(model("key"), 61.0).failed(ProviderFailure("key_broken", "no", code="x"), 61.0)
    found = {name: registry.get_sample_value("circuit_breaker_state", {"model": name}) for name in names}
    assert found == {"cooling": 2, "half-open": 1, "open": 3, "well": 0}
    keys = {name: registry.get_sample_value("llm_provider_key_state", {"provider": name}) for name in ("anthropic", "openai")}
    assert keys == {"anthropic": 0, "openai": 3}


def test_partitions_that_are_wanted_and_not_read_are_counted_now_and_ever() -> None:
    now = 100.0
    unread = Unread(lambda: now)
    registry = CollectorRegistry()
    registry.register(ReadingMetrics(unread))
    partition = TopicPartition("t", 0)

    def shown() -> tuple[float | None, float | None]:
        return registry.get_sample_value("kafka_partitions_unread"), registry.get_sample_value(
            "kafka_partitions_left_unread_total"
        )

    unread.begins(partition)
    now += 2
    unread.look({partition}, lambda _: "no leader is known")
    assert shown() == (1, 1)
    unread.answered(partition)
    assert shown() == (0, 1)
