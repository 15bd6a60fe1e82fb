"""The processors as they are put together: they act on `agent.health`, and say on `alerts` when a model is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from connectors.kafka.admin import create_topics
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import open_pool
from connectors.settings import Settings
from schemas import topics
from schemas.base import Event
from schemas.codec import decode
from schemas.events import AgentHealth, Alert, NodeFinished, RunFinished
from schemas.workflow.definition import WorkflowDefinition
from streams.app.processors import clock_ms, running
from streams.definitions import published
from streams.runtime import Publisher
from streams.wire import outgoing
from tests.support.system import PATIENCE_SECONDS, Reader, message, produce, reading
from tests.unit.llm.misbehaving import Asked, answer, serving

pytestmark = pytest.mark.xdist_group("system")
AGENT, OTHER = "simple_response_generator", "reasoning_support_agent"
HELLO = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "house",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


@dataclass
class Desk:
    """A workflow of one node, the endpoint its model is behind, and what an independent client reads."""

    bootstrap: str
    database: str
    name: str
    reader: Reader
    url: str = ""
    broken: bool = False
    asked: int = 0
    sent: int = 0

    def reply(self, asked: Asked) -> bytes:
        if asked.method == "GET":  # which models it has
            return answer({"object": "list", "data": [{"id": name, "object": "model"} for name in ("house", "gpt-3.5-turbo")]})
        self.asked += 1
        return answer({"error": {"message": "out of order"}}, 500) if self.broken else answer(HELLO)

    async def publish(self, *events: Event) -> None:
        async with Publisher(self.bootstrap) as publisher:
            await publisher.send([outgoing(event) for event in events])

    async def say(self) -> tuple[NodeFinished, RunFinished]:
        """How the node of one more message, and its run, ended."""
        self.sent += 1
        conversation = f"{self.name}-{self.sent}"
        await produce(self.bootstrap, [message("hi", conversation, workflow=self.name)])
        node = await self.find(NodeFinished, topics.WORKFLOW_EVENTS, conversation)
        return node, await self.find(RunFinished, topics.WORKFLOW_EVENTS, conversation)

    async def find(self, kind: type[Any], topic: str, conversation: str) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for event in self.events(topic):
                    if isinstance(event, kind) and event.conversation_id == conversation:
                        return event
                await self.more()

    async def more(self) -> None:
        for batch in (await self.reader.consumer.getmany(timeout_ms=200)).values():
            self.reader.records += batch

    def events(self, topic: str) -> list[Event]:
        return [decode(record.value, record.headers) for record in self.reader.records if record.topic == topic]

    def alerts(self) -> list[Alert]:
        found = [event for event in self.events(topics.ALERTS) if isinstance(event, Alert)]
        return [alert for alert in found if alert.worker == self.name]


def health(agent: str, *, healthy: bool) -> AgentHealth:
    return AgentHealth(
        id=f"{agent}-{healthy}",
        time_ms=clock_ms(),
        conversation_id="",
        agent=agent,
        healthy=healthy,
        executions=20,
        failures=0 if healthy else 15,
        window_ms=86_400_000,
        since_ms=0,
    )


async def scraped(url: str) -> dict[tuple[str, str], float]:
    """(metric, its only label's value) → the sample, of a page that Prometheus' own parser has read."""
    async with httpx.AsyncClient() as client:
        page = await client.get(url)
    assert page.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(page.text)
    return {(each.name, "".join(each.labels.values())): each.value for family in families for each in family.samples}


@asynccontextmanager
async def working(bootstrap: str, database: str, name: str, model_url: str, *also: str, **more: str) -> AsyncIterator[list[str]]:
    """Intake, conversations and nodes in this process, with a model at an endpoint of the test's own. `also`: more processors.

    Yields what they report.
    """
    reported: list[str] = []
    settings = Settings.from_environment(
        {
            "HIL_KAFKA_BOOTSTRAP": bootstrap,
            "HIL_DATABASE_URL": database,
            "HIL_LLM_BASE_URL": f"{model_url}/v1",
            "HIL_MODEL_FAST": "house",
            "HIL_INSTANCE": name,
            **more,
        }
    )
    async with running(settings, ("intake", "conversations", "nodes", *also), reported.append):
        yield reported


@pytest.fixture
async def desk(kafka_bootstrap: str, database: str, unique: str) -> AsyncIterator[Desk]:
    await create_topics(kafka_bootstrap, partitions=4)
    pool = await open_pool(database)
    await migrate(pool)
    await pool.close()
    node = {
        "id": "n",
        "agent": AGENT,
        "prompt_template": "{{ text }}",
        "config": {"model_profile": "fast"},
        "retry": {"max_attempts": 1},
        "timeout_seconds": 20,  # less than a breaker is open, so that no call waits for it
    }
    definition = WorkflowDefinition.model_validate(
        {"name": unique, "version": "1.0.0", "workflow": {"nodes": [node], "edges": [{"from": "n", "to": "END"}]}}
    )
    async with reading(kafka_bootstrap, (topics.WORKFLOW_EVENTS, topics.ALERTS)) as reader:
        made = Desk(kafka_bootstrap, database, unique, reader)
        await made.publish(published(definition, "", {AGENT: "simple"}, at_ms=0), health(AGENT, healthy=False))
        async with serving(made.reply) as server:
            made.url = server.url
            try:
                yield made
            finally:
                await made.publish(health(AGENT, healthy=True))


@pytest.fixture
async def nodes(desk: Desk) -> AsyncIterator[None]:
    """Without a ledger, which would know better than the test how agents do."""
    async with working(desk.bootstrap, desk.database, desk.name, desk.url):
        yield


@pytest.mark.usefixtures("nodes")
async def test_an_unhealthy_agent_is_replaced_from_the_start_and_works_again_once_it_is_healthy(desk: Desk):
    node, run = await desk.say()
    assert (node.agent, node.agent_type, run.status, run.text) == (OTHER, "reasoning", "completed", "hello")
    await desk.publish(health(AGENT, healthy=True))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await desk.say())[0].agent != AGENT:
            pass


async def test_the_state_of_a_breaker_is_a_metric_that_prometheus_can_read(desk: Desk):
    async with working(desk.bootstrap, desk.database, desk.name, desk.url, HIL_METRICS="127.0.0.1:0") as reported:
        [url] = [line.removeprefix("metrics are at ") for line in reported if line.startswith("metrics are at ")]
        before = await scraped(url)
        assert before["circuit_breaker_state", "house"] == 0
        assert before["llm_provider_key_state", "local"] == 0
        desk.broken = True
        for _ in range(6):
            await desk.say()
        assert (await scraped(url))["circuit_breaker_state", "house"] == 3
    with pytest.raises(httpx.ConnectError):
        await scraped(url)


@pytest.mark.usefixtures("nodes")
async def test_a_model_that_breaks_is_an_alert_and_calls_it_does_not_get_are_none(desk: Desk):
    desk.broken = True
    ended = [await desk.say() for _ in range(12)]
    assert {(node.fault, run.status) for node, run in ended} == {("models", "failed")}
    assert desk.asked == 5, "then its breaker was open"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not desk.alerts():
            await desk.more()
    (alert,) = desk.alerts()
    assert (alert.name, alert.breaker, alert.state) == (f"breaker.house@{desk.name}", "open", "critical")
    assert 0 < alert.until_ms - alert.time_ms <= 60_000


async def test_the_budget_of_everything_is_an_alert_of_the_ledgers_once_a_worker_refuses_a_call(desk: Desk):
    limit = {"HIL_MODEL_FAST": "gpt-3.5-turbo", "HIL_DAILY_BUDGET": "0.000013"}
    async with working(desk.bootstrap, desk.database, desk.name, desk.url, "ledger", **limit), asyncio.timeout(PATIENCE_SECONDS):
        faults = {(await desk.say())[0].fault for _ in range(3)}
        node, _ = await desk.say()
        assert (faults, desk.asked) == ({"budget"}, 0), node.error
        found: list[Alert] = []
        while not found:
            await desk.more()
            found = [each for each in desk.events(topics.ALERTS) if isinstance(each, Alert) and each.name == "budget.daily"]
    assert [(each.state, each.limit_micro_usd, each.workflow) for each in found] == [("critical", 13, "")]
