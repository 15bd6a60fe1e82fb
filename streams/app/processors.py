"""The processors and what each is given. One process may run all of them, or one."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connectors.cli.ports import CannotGoOn, Report
from connectors.kafka import admin
from connectors.postgres.pool import open_pool
from connectors.postgres.projection import PostgresProjection
from connectors.settings import Settings
from schemas import topics
from schemas.events import WorkflowPublished
from streams.app.agenthealth import HealthWatch
from streams.app.announcing import Announcer, process_name, worker_name
from streams.app.projecting import Projecting
from streams.app.spending import open_allowances
from streams.conversations import Conversations
from streams.core.state import ConversationCodec
from streams.deadletters import dead_letter
from streams.definitions import Definitions
from streams.intake import Admission, Intake
from streams.journal import ExecutionCodec
from streams.nodes import Nodes, Workshop
from streams.projector import PROJECTED, Projector
from streams.runtime import BatchRuntime, BatchSettings, Fetching, FollowedTopic, Publisher, Record, Runtime, RuntimeSettings
from streams.runtime.patience import BROKER_S
from streams.runtime.reading import partition_counts
from streams.wire import incoming

if TYPE_CHECKING:
    from streams.app.measuring import Measures

ALL = ("intake", "conversations", "nodes", "ledger", "projector")
NODE_CONCURRENCY = {topics.NODE_TASKS_SIMPLE: 32, topics.NODE_TASKS_REASONING: 32, topics.NODE_TASKS_CODE: 8}
"""Tasks of one partition that a worker has in hand at once. They wait for models most of the time."""

WorkshopOf = Callable[[Settings], AbstractAsyncContextManager[Workshop]]
"""Opens what node workers work with."""


TIDY_S = 0.1
STOP_PATIENCE_S = 30.0
"""For draining; then whatever still works is cancelled, and its records come again."""


def clock_ms() -> int:
    """Wall-clock time in milliseconds: for processors that stamp what they did."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Running:
    """Processors at work."""

    definitions: Definitions
    followed: FollowedTopic
    fetching: Fetching
    tasks: list[asyncio.Task[None]]

    async def until_failure(self) -> None:
        """Raise what the first processor to fail failed with; its name says which."""
        followed = asyncio.create_task(self.followed.failed(), name="workflow.definitions")
        try:
            done, _ = await asyncio.wait([*self.tasks, followed, self.fetching.failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            followed.cancel()
        if self.fetching.failed in done:
            raise CannotGoOn(f"stopped: {self.fetching.failed.exception()}")
        for task in (each for each in done if isinstance(each, asyncio.Task)):
            if (error := task.exception()) is not None:
                raise CannotGoOn(f"{task.get_name()} stopped: {error}") from error


@asynccontextmanager
async def follow_definitions(bootstrap: str, report: Report) -> AsyncIterator[tuple[Definitions, FollowedTopic]]:
    """Every published workflow, kept up to date."""
    definitions = Definitions()

    def take(record: Record) -> None:
        if record.value is not None:
            definitions.add(incoming(record, WorkflowPublished), key=record.key)

    async with FollowedTopic(bootstrap, topics.WORKFLOW_DEFINITIONS, take, report=report) as followed:
        definitions.look = followed.caught_up
        await followed.caught_up()
        yield definitions, followed


@asynccontextmanager
async def running(
    settings: Settings, names: Sequence[str], report: Report, *, workshop: WorkshopOf | None = None
) -> AsyncIterator[Running]:
    """Start processors, yield once each has its partitions restored, drain them at the end.

    `workshop`: another one than that of real models and tools, for measuring the engine alone.
    """
    bootstrap = kafka_of(settings)
    if faults := await _checked(bootstrap, report):
        raise CannotGoOn("the topics are not as the processors need them:\n" + "\n".join(faults))
    async with AsyncExitStack() as stack:
        definitions, followed = await stack.enter_async_context(follow_definitions(bootstrap, report))
        fetching = Fetching(bootstrap, most_bytes=settings.records_mib << 20)
        await fetching.start()
        stack.push_async_callback(fetching.stop)
        publisher = Publisher(bootstrap, fetching=fetching)
        await publisher.start()
        stack.push_async_exit(_closing(publisher))
        measures: Measures | None = None
        if settings.metrics is not None:
            from streams.app.measuring import measuring  # who serves none need not wait for the imports

            measures = await stack.enter_async_context(measuring(settings.metrics, report))
            measures.watch_reading(fetching)
        builder = _Builder(settings, bootstrap, definitions, publisher, fetching, workshop, measures, report, stack)
        runtimes = [runtime for name in names for runtime in await builder.build(name)]
        tasks = [asyncio.create_task(runtime.run(), name=name) for name, runtime in runtimes]
        stack.push_async_exit(_stopping(runtimes, tasks))
        state = Running(definitions, followed, fetching, tasks)
        await _until_ready(state, [runtime for _, runtime in runtimes])
        _settle_memory()
        tidying = asyncio.create_task(_tidy())
        stack.callback(tidying.cancel)
        yield state


async def _checked(bootstrap: str, report: Report) -> list[str]:
    """What is wrong with the topics. No broker may answer yet: processors and brokers are often started together."""
    clock = asyncio.get_running_loop()
    last = clock.time() + BROKER_S
    while True:
        try:
            return await admin.check_topics(bootstrap)
        except admin.KafkaUnreachableError as error:
            if clock.time() >= last:
                raise
            report(f"waiting for Kafka, at most {last - clock.time():.0f} s more: {error}")
            await asyncio.sleep(1)


def _settle_memory() -> None:
    """What lives now lives on: leave it out of collections, and collect less often. It takes a tenth off a busy process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 400, 50)


async def _tidy() -> None:
    """Look at the young objects before there are so many that everything waits: 50,000 at once take up to a tenth of a second."""
    while True:
        await asyncio.sleep(TIDY_S)
        gc.collect(0)


async def _until_ready(state: Running, runtimes: Sequence[Any]) -> None:
    ready = asyncio.ensure_future(asyncio.gather(*(runtime.ready() for runtime in runtimes)))
    failed = asyncio.ensure_future(state.until_failure())
    try:
        await asyncio.wait([ready, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            await failed
        await ready
    finally:
        for waiting in (ready, failed):
            waiting.cancel()
        await asyncio.gather(ready, failed, return_exceptions=True)


def _stopping(runtimes: Sequence[tuple[str, Any]], tasks: Sequence[asyncio.Task[None]]) -> Any:
    """Drain in the order of the flow, so that what is in hand still finds its next processor. After a failure, just end."""

    async def stop(kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None or not issubclass(kind, Exception):
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_PATIENCE_S):
                    for _, runtime in runtimes:
                        await runtime.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_PATIENCE_S)

    return stop


def _closing(publisher: Publisher) -> Any:
    async def close(kind: type[BaseException] | None, *_: object) -> None:
        await (publisher.stop() if kind is None or not issubclass(kind, Exception) else publisher.abort())

    return close


@dataclass(slots=True)
class _Builder:
    settings: Settings
    bootstrap: str
    definitions: Definitions
    publisher: Publisher
    fetching: Fetching
    workshop: WorkshopOf | None
    measures: Measures | None
    report: Report
    stack: AsyncExitStack

    async def build(self, name: str) -> list[tuple[str, Any]]:
        """The runtimes of a processor, by name."""
        match name:
            case "intake":
                admission = Admission(self.settings.default_workflow, self.settings.message_workflows)
                intake = Intake(self.definitions, admission, clock_ms=clock_ms)
                return [(name, self._runtime(name, (topics.CUSTOMER_MESSAGES,), intake, positions=topics.INTAKE_POSITIONS))]
            case "conversations":
                changelog = {topics.CONVERSATION_EVENTS: topics.CONVERSATION_STATE}
                counts = await partition_counts(self.bootstrap, changelog)
                conversations = Conversations(
                    self.definitions,
                    clock_ms=clock_ms,
                    ttl_ms=self.settings.conversation_ttl_s * 1000,
                    partitions=counts[topics.CONVERSATION_EVENTS],
                )
                return [(name, self._runtime(name, tuple(changelog), conversations, ConversationCodec(), changelogs=changelog))]
            case "nodes":
                return await self._nodes()
            case "ledger":
                return self._ledger(name)
            case "projector":
                pool = await self.stack.enter_async_context(await open_pool(database_of(self.settings)))
                arrived = self.settings.records_mib << 20
                settings = BatchSettings(self.bootstrap, "hil.projector", PROJECTED, arrived_bytes=arrived, **self._membership())
                send = self.publisher.send
                return [(name, Projecting(lambda: BatchRuntime(settings, Projector(PostgresProjection(pool), send=send))))]
        raise CannotGoOn(f"there is no processor {name!r}: choose from {', '.join(ALL)}")

    async def _nodes(self) -> list[tuple[str, Any]]:
        process = process_name(self.settings)
        announcer = Announcer(self.publisher, worker_name(self.settings), process, clock_ms)
        watch: list[tuple[str, Any]] = []
        workshop, registry = None, None
        if self.workshop is not None:
            workshop = await self.stack.enter_async_context(self.workshop(self.settings))
        else:
            from streams.app.workshop import open_workshop  # the clients of models and tools take two seconds to import

            opened = await self.stack.enter_async_context(open_workshop(self.settings, database_of(self.settings), self.report))
            workshop, registry, router = opened, opened.registry, opened.calls.router
            self.stack.enter_context(announcer.hearing(router.health, router.clock))
            if self.measures is not None:
                self.measures.watch(router)
            following = HealthWatch(self.bootstrap, registry, self.report)
            await following.start()
            self.stack.push_async_callback(following.stop)
            watch.append((topics.AGENT_HEALTH, following))
        allowances = await self.stack.enter_async_context(
            open_allowances(self.settings, self.bootstrap, process, announcer.budget, clock_ms)
        )
        nodes = {
            topic: Nodes(self.definitions, workshop, clock_ms=clock_ms, allowances=allowances, registry=registry, worker=process)
            for topic in NODE_CONCURRENCY
        }
        runtimes = [
            (
                topic,
                self._runtime(
                    topic,
                    (topic,),
                    nodes[topic],
                    ExecutionCodec(),
                    changelogs={topic: topics.journal_of(topic)},
                    concurrency=self.settings.node_concurrency or concurrency,
                    early=True,
                ),
            )
            for topic, concurrency in NODE_CONCURRENCY.items()
        ]
        return [*runtimes, *watch]

    def _ledger(self, name: str) -> list[tuple[str, Any]]:
        from streams.ledger.app import LedgerSettings  # Faust takes half a second to import
        from streams.ledger.ledger import Ledger
        from streams.ledger.overseer import Overseer, limits_of, limits_of_all

        of_all = limits_of_all(self.settings.daily_budget, self.settings.monthly_budget)
        ledger = Ledger(LedgerSettings(self.bootstrap, f"hil.{name}", **self._membership()), self.publisher)
        overseer = Overseer(
            self.bootstrap,
            self.publisher,
            acts=lambda: 0 in ledger.owned(),
            limits=lambda: [*limits_of(self.definitions), *of_all],
            clock_ms=clock_ms,
        )
        return [(name, ledger), (f"{name} alerts", overseer)]

    def _membership(self) -> dict[str, Any]:
        session_ms = self.settings.session_timeout_ms
        return {
            "client_id": f"hil.{self.settings.instance}" if self.settings.instance else "hil",
            "instance": self.settings.instance,
            "session_timeout_ms": session_ms,
            "heartbeat_interval_ms": session_ms // 15,
        }

    def _runtime(self, name: str, sources: tuple[str, ...], processor: Any, codec: Any = None, **more: Any) -> Runtime[Any]:
        more["rebalance_patience_s"] = self.settings.session_timeout_ms / 1000 / 5
        more["standby"] = self.settings.standby and "changelogs" in more
        settings = RuntimeSettings(self.bootstrap, f"hil.{name}", sources, **self._membership(), **more)
        return Runtime(
            settings, processor, codec, dead_letter, publisher=self.publisher, fetching=self.fetching, report=self.report
        )


def kafka_of(settings: Settings) -> str:
    if settings.kafka_bootstrap is None:
        raise CannotGoOn("no Kafka is known here: start `hil up` in this folder first, or set HIL_KAFKA_BOOTSTRAP")
    return settings.kafka_bootstrap


def database_of(settings: Settings) -> str:
    if settings.database_url is None:
        raise CannotGoOn("no Postgres is known here: start `hil up` in this folder first, or set HIL_DATABASE_URL")
    return settings.database_url
