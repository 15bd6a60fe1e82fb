"""The processors and what each is given. One process may run all of them, or one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from connectors.cli.ports import CannotGoOn, Report
from connectors.postgres.pool import open_pool
from connectors.postgres.projection import PostgresProjection
from connectors.settings import Settings
from schemas import topics
from schemas.codec import Undecodable
from streams.app.workshop import open_workshop
from streams.conversations import Conversations
from streams.core.state import ConversationCodec
from streams.deadletters import dead_letter
from streams.definitions import Definitions
from streams.intake import Intake
from streams.nodes import ExecutionCodec, Nodes
from streams.projector import PROJECTED, Projector
from streams.runtime import BatchRuntime, BatchSettings, FollowedTopic, Record, Runtime, RuntimeSettings
from streams.wire import incoming

ALL = ("intake", "conversations", "nodes", "projector")
NODE_CONCURRENCY = {topics.NODE_TASKS_SIMPLE: 32, topics.NODE_TASKS_REASONING: 32, topics.NODE_TASKS_CODE: 8}
"""Tasks of one partition that a worker has in hand at once. They wait for models most of the time."""


def clock_ms() -> int:
    """Wall-clock time in milliseconds: for processors that stamp what they did."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Running:
    """Processors at work."""

    definitions: Definitions
    tasks: list[asyncio.Task[None]]

    async def until_failure(self) -> None:
        """Return when all have ended; raise what the first one failed with."""
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if task.exception() is not None:
                raise CannotGoOn(f"{task.get_name()} stopped: {task.exception()}") from task.exception()


@asynccontextmanager
async def followed_definitions(settings: Settings, report: Report) -> AsyncIterator[Definitions]:
    """Every published workflow, kept up to date."""
    definitions = Definitions()

    def take(record: Record) -> None:
        if record.value is None:
            return
        from schemas.events import WorkflowPublished

        try:
            definitions.add(incoming(record, WorkflowPublished))
        except (Undecodable, ValueError) as fault:
            report(f"passing over {record.topic}-{record.partition}@{record.offset}, which is no usable workflow: {fault}")

    followed = FollowedTopic(_bootstrap(settings), topics.WORKFLOW_DEFINITIONS, take)
    async with followed:
        await followed.caught_up()
        yield definitions


@asynccontextmanager
async def running(settings: Settings, names: Sequence[str], report: Report) -> AsyncIterator[Running]:
    """Start processors, yield once each has its partitions restored, drain them at the end."""
    async with AsyncExitStack() as stack:
        definitions = await stack.enter_async_context(followed_definitions(settings, report))
        runtimes: list[tuple[str, Any]] = []
        for name in names:
            runtimes += await _build(name, settings, definitions, stack)
        tasks = [asyncio.create_task(runtime.run(), name=name) for name, runtime in runtimes]
        stack.push_async_callback(_stop, runtimes, tasks)
        state = Running(definitions, tasks)
        ready = asyncio.gather(*(runtime.ready() for _, runtime in runtimes))
        failed = asyncio.create_task(state.until_failure())
        await asyncio.wait([ready, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            ready.cancel()
            await failed
        failed.cancel()
        yield state


async def _stop(runtimes: Sequence[tuple[str, Any]], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Drain in the order of the flow, so that what is in hand still finds its next processor."""
    for _, runtime in runtimes:
        await runtime.stop()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _build(name: str, settings: Settings, definitions: Definitions, stack: AsyncExitStack) -> list[tuple[str, Any]]:
    bootstrap = _bootstrap(settings)
    match name:
        case "intake":
            intake = Intake(definitions, default_workflow=settings.default_workflow)
            return [
                (name, Runtime(RuntimeSettings(bootstrap, "hil.intake", (topics.CUSTOMER_MESSAGES,)), intake, None, dead_letter))
            ]
        case "conversations":
            changelogs = {topics.CONVERSATION_EVENTS: topics.CONVERSATION_STATE}
            chosen = RuntimeSettings(bootstrap, "hil.conversations", (topics.CONVERSATION_EVENTS,), changelogs)
            return [(name, Runtime(chosen, Conversations(definitions, clock_ms=clock_ms), ConversationCodec(), dead_letter))]
        case "nodes":
            workshop = await stack.enter_async_context(open_workshop(settings))
            return [
                (
                    topic,
                    Runtime(
                        RuntimeSettings(
                            bootstrap, f"hil.{topic}", (topic,), {topic: topics.journal_of(topic)}, concurrency=concurrency
                        ),
                        Nodes(definitions, workshop, clock_ms=clock_ms),
                        ExecutionCodec(),
                        dead_letter,
                    ),
                )
                for topic, concurrency in NODE_CONCURRENCY.items()
            ]
        case "projector":
            pool = await stack.enter_async_context(await open_pool(_database(settings)))
            projector = Projector(PostgresProjection(pool))
            return [(name, BatchRuntime(BatchSettings(bootstrap, "hil.projector", PROJECTED), projector))]
    raise CannotGoOn(f"there is no processor {name!r}: choose from {', '.join(ALL)}")


def _bootstrap(settings: Settings) -> str:
    if settings.kafka_bootstrap is None:
        raise CannotGoOn("no Kafka is known here: start `hil up` in this folder first, or set HIL_KAFKA_BOOTSTRAP")
    return settings.kafka_bootstrap


def _database(settings: Settings) -> str:
    if settings.database_url is None:
        raise CannotGoOn("no Postgres is known here: start `hil up` in this folder first, or set HIL_DATABASE_URL")
    return settings.database_url
