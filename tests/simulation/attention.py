"""Whether every partition that a process wants to read is asked for, of the broker that has it, within a second."""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition

from tests.simulation.broker.broker import Broker
from tests.simulation.world import Process

LOOK_S = 0.25
MOST_S = 1.5
"""A second, and what a look and a request on its way may add."""


class Attention:
    """Looks at the real `Fetching` of every process once in a while."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._fetching: dict[Process, Any] = {}
        self._since: dict[tuple[Process, TopicPartition], tuple[int, float]] = {}
        """(leader, since when it could have been asked and was not)."""
        self.missed: str | None = None
        """Which partition was not asked for, in words."""

    def give(self, process: Process, fetching: Any) -> None:
        self._fetching[process] = fetching

    def arm(self) -> None:
        self._broker.world.at(LOOK_S, self._look)

    def _look(self) -> None:
        for process, fetching in list(self._fetching.items()):
            if not process.alive:
                del self._fetching[process]
                continue
            for partition, reading in fetching._readings.items():
                self._judge(process, fetching, partition, reading)
        self._broker.world.at(LOOK_S, self._look)

    def _judge(self, process: Process, fetching: Any, partition: TopicPartition, reading: Any) -> None:
        brokers, now, key = self._broker.brokers, self._broker.world.now, (process, partition)
        assert brokers is not None
        leader = fetching._client.cluster.leader_for_partition(partition) or -1
        node = brokers.nodes.get(leader)
        wanted = reading.wanted(partition) is not None and fetching._supplied.get(partition, 0.0) <= now
        if node is None or not wanted or not node.up or not brokers.serves(node, partition):
            self._since.pop(key, None)  # nobody could ask, or need not
            return
        asked, until = self._broker.asked.get(key, (0, 0.0))
        before, since = self._since.get(key, (leader, now))
        if (asked == leader and until >= now - LOOK_S) or before != leader:
            since = now
        self._since[key] = (leader, since)
        if now - since > MOST_S and self.missed is None:
            self.missed = (
                f"{process.name} wants {partition.topic}-{partition.partition}, knows that broker {leader} leads it, and has not "
                f"asked it since {since:.2f} s: it is {now:.2f} s now"
            )
