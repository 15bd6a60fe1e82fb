"""connectors.cli.ports.System: everything a command can ask for, put together from the real parts."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from agents.router.catalogue import Catalogue
from connectors.cli.ports import Addresses, CannotGoOn, Gateway, PublishedWorkflow, Report
from connectors.embedded import Embedded
from connectors.kafka import admin
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import open_pool
from connectors.settings import Settings
from schemas.events import CancelRequested
from schemas.ids import derive
from schemas.shown import without_credentials
from streams.app import publishing
from streams.app.gateway import KafkaGateway
from streams.app.knowledge import knowledge
from streams.app.own_endpoint import with_named_models
from streams.app.processors import ALL, Running, clock_ms, database_of, kafka_of, running
from streams.app.stand_ins import stand_ins
from streams.app.words import in_words
from streams.definitions import UnknownWorkflow
from streams.runtime import Publisher, use_patient_clients
from streams.wire import outgoing

ROOT = Path(__file__).resolve().parents[2]
RUNNING_FILE = "running.json"
INSTANCE_FILE = "instance"


def bundled(*parts: str) -> Path:
    """A file or folder under workflows/, in a checkout or in an installed wheel."""
    checkout, installed = ROOT / "workflows", ROOT / "connectors" / "bundled" / "workflows"
    return (checkout if checkout.is_dir() else installed).joinpath(*parts)


class Application:
    """One per process."""

    def __init__(self, settings: Settings) -> None:
        use_patient_clients()
        self._settings = settings
        self._running: Running | None = None
        self._embedded: Embedded | None = None

    @property
    def settings(self) -> Settings:
        return self._settings

    def database_url(self) -> str:
        """Of the Postgres that is configured or runs here. Raises CannotGoOn when there is none."""
        return database_of(self._known())

    @asynccontextmanager
    async def started(self, report: Report) -> AsyncIterator[KafkaGateway]:
        with in_words():
            async with AsyncExitStack() as stack:
                settings, addresses = await self._start(stack, report)
                publisher = await stack.enter_async_context(Publisher(kafka_of(settings)))
                stack.callback(_announce(settings.data, addresses))
                try:
                    yield KafkaGateway(addresses, publisher)
                except Exception as error:
                    report(f"stopping everything: {error}")
                    raise
                report("stopping")

    async def _start(self, stack: AsyncExitStack, report: Report) -> tuple[Settings, Addresses]:
        self._embedded = Embedded(self._settings, report)
        parts = await stack.enter_async_context(self._embedded)
        settings = replace(
            self._settings,
            kafka_bootstrap=parts.kafka_bootstrap,
            database_url=parts.database_url,
            partitions=self._settings.topic_partitions,
            instance=self._settings.instance or _instance_of(self._settings.data),
        )
        settings, stand_in = await _with_stand_ins(settings, stack, report)
        if settings.llm_base_url and not stand_in:
            settings, words = await with_named_models(settings, Catalogue.load(settings.catalog))
            for line in words:
                report(line)
        inside = Application(settings)
        await inside.create_topics()
        await inside.migrate()
        for workflow in await inside.publish_workflows([str(path) for path in sorted(bundled().glob("*.yaml"))], once=True):
            for warning in workflow.warnings:
                report(warning)
        await inside.knowledge("add", {"files": [str(path) for path in sorted(bundled("knowledge").glob("*.md"))]})
        report("starting the processors")
        self._running = await stack.enter_async_context(running(settings, ALL, report))
        try:
            self._running.definitions.resolve(settings.default_workflow)
        except UnknownWorkflow as error:
            raise CannotGoOn(f"HIL_DEFAULT_WORKFLOW: {error}") from error
        return settings, _addresses(settings, self._settings, stand_in)

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[KafkaGateway]:
        settings = self._known()
        with in_words():
            async with Publisher(kafka_of(settings)) as publisher:
                yield KafkaGateway(_addresses(settings, self._settings, stand_in=False), publisher)

    def reachable(self) -> Settings:
        """Settings filled in from the `hil up` that runs on the same data folder, if one does."""
        settings, found = self._settings, _running_here(self._settings.data)
        if found is not None:
            settings = replace(
                settings,
                kafka_bootstrap=settings.kafka_bootstrap or found.kafka_bootstrap,
                database_url=settings.database_url or found.database_url,
                llm_base_url=settings.llm_base_url or found.llm_base_url or None,
                composio_base_url=settings.composio_base_url or found.composio_base_url or None,
            )
        return settings

    def _known(self) -> Settings:
        settings = self.reachable()
        if settings.kafka_bootstrap is None:
            raise CannotGoOn("nothing is running here: start `hil up` in another terminal, or set HIL_KAFKA_BOOTSTRAP")
        return settings

    async def serve(self, processors: Sequence[str], report: Report, ready: Callable[[], None]) -> None:
        with in_words():
            async with running(self._known(), processors, report) as state:
                ready()
                await _first(state.until_failure(), stop_signal())

    async def until_stopped(self, gateway: Gateway) -> None:
        assert self._running is not None
        assert self._embedded is not None
        await _first(self._running.until_failure(), self._embedded_failure(), stop_signal())

    async def _embedded_failure(self) -> None:
        assert self._embedded is not None
        raise await self._embedded.failure()

    async def create_topics(self) -> list[str]:
        settings = self._known()
        with in_words():
            return await admin.create_topics(
                kafka_of(settings), partitions=settings.topic_partitions, replication=settings.replication
            )

    async def check_topics(self) -> list[str]:
        with in_words():
            return await admin.check_topics(kafka_of(self._known()))

    async def migrate(self) -> list[str]:
        with in_words():
            async with await open_pool(database_of(self._known())) as pool:
                return await migrate(pool)

    async def publish_workflows(self, paths: Sequence[str], *, once: bool = False) -> list[PublishedWorkflow]:
        with in_words():
            return await publishing.publish_files(kafka_of(self._known()), paths, self._known(), once=once)

    async def list_workflows(self) -> list[PublishedWorkflow]:
        with in_words():
            return await publishing.list_published(kafka_of(self._known()))

    async def cancel(self, conversation_id: str, run_id: str, *, reason: str) -> None:
        event = CancelRequested(
            id=derive(conversation_id, run_id, "cancel"),
            time_ms=clock_ms(),
            conversation_id=conversation_id,
            run_id=run_id,
            reason=reason,
            requested_by=getpass.getuser(),
        )
        with in_words():
            async with Publisher(kafka_of(self._known())) as publisher:
                await publisher.send([outgoing(event)])

    async def knowledge(
        self, action: Literal["add", "list", "search", "remove"], arguments: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        with in_words():
            return await knowledge(database_of(self._known()), self._known().environment(), action, arguments)

    def demo_messages(self) -> list[dict[str, Any]]:
        lines = bundled("messages", "demo.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]


async def _with_stand_ins(settings: Settings, stack: AsyncExitStack, report: Report) -> tuple[Settings, bool]:
    """Fill in the rehearsal model and the toy shop for what is not configured. True when the rehearsal model answers."""
    own_model = not (settings.llm_base_url or settings.openai_api_key or settings.anthropic_api_key)
    own_shop = not (settings.composio_base_url or settings.composio_api_key)
    if not (own_model or own_shop):
        return settings, False
    report("starting the rehearsal model and the toy shop" if own_model else "starting the toy shop")
    addresses = await stack.enter_async_context(stand_ins())
    if own_model:
        settings = replace(settings, llm_base_url=addresses.llm_base_url)
    if own_shop:
        settings = replace(settings, composio_base_url=addresses.composio_base_url)
    return settings, own_model


def _addresses(settings: Settings, given: Settings, stand_in: bool) -> Addresses:
    """What others are told. What was `given` to us is told without its credentials: who may know them was given them too.

    The embedded Postgres has a password that was made here, and its address is how one gets in.
    """
    return Addresses(
        kafka_bootstrap=settings.kafka_bootstrap or "",
        database_url=without_credentials(given.database_url) if given.database_url else settings.database_url or "",
        llm_base_url=without_credentials(settings.llm_base_url or ""),
        composio_base_url=without_credentials(settings.composio_base_url or ""),
        data=str(settings.data.resolve()),
        pid=os.getpid(),
        stand_in=stand_in,
    )


def _announce(data: Path, addresses: Addresses) -> Callable[[], None]:
    """Tell other commands on this data folder where everything is; returns how to take it back."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / RUNNING_FILE
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(addresses)), encoding="utf-8")
    return lambda: path.unlink(missing_ok=True)


def _instance_of(data: Path) -> str:
    """The name of whoever runs on this data folder: one process at a time, and the next one is its heir."""
    path = data / INSTANCE_FILE
    data.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(uuid.uuid4().hex, encoding="ascii")
    return path.read_text(encoding="ascii")


def _running_here(data: Path) -> Addresses | None:
    """The system that announced itself in this data folder, if its process still lives."""
    try:
        addresses = Addresses(**json.loads((data / RUNNING_FILE).read_text(encoding="utf-8")))
        os.kill(addresses.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return addresses


async def stop_signal() -> None:
    """Return at the first SIGINT or SIGTERM. A second one ends the process at once."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: signal.Signals) -> None:
        stopped.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    await stopped.wait()


async def _first(*works: Awaitable[None]) -> None:
    """Wait for whichever ends first; raise what it raised; cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
