"""Keeps the registry of a node worker up to date with what the ledger says about agents (topic `agent.health`)."""

from __future__ import annotations

from agents.registry import Registry
from connectors.cli.ports import Report
from schemas import topics
from schemas.events import AgentHealth
from streams.runtime import FollowedTopic, Record
from streams.wire import incoming


class HealthWatch:
    """Runs beside the processors. Once `ready`, the registry knows everything that was said before."""

    def __init__(self, bootstrap: str, registry: Registry, report: Report, *, topic: str = topics.AGENT_HEALTH) -> None:
        self._registry = registry
        self._followed = FollowedTopic(bootstrap, topic, self._take, report=report)

    async def start(self) -> None:
        await self._followed.start()
        await self._followed.caught_up()

    async def run(self) -> None:
        """Returns after `stop`; raises RuntimeFailed when the topic cannot be followed any more."""
        await self._followed.failed()

    async def ready(self) -> None:
        """It is, since `start`."""

    async def stop(self) -> None:
        await self._followed.stop()

    def _take(self, record: Record) -> None:
        if record.value is None:
            return
        said = incoming(record, AgentHealth)
        if record.key != said.key.encode():
            raise ValueError(f"its key is not the agent it speaks of, {said.agent[:200]!r}")
        if said.agent not in self._registry:  # another installation of agents has it
            return
        self._registry.note_health(
            said.agent,
            is_healthy=said.healthy,
            error_rate=said.failures / said.executions if said.executions else 0.0,
            checked_ms=said.time_ms,
        )
