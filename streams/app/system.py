"""connectors.cli.ports.System: everything a command can ask for, put together from the real parts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from connectors.cli.ports import Addresses, CannotGoOn, PublishedWorkflow, Report
from connectors.settings import Settings
from streams.app.gateway import KafkaGateway
from streams.app.processors import ALL, Running, running
from streams.app.stand_ins import stand_ins

BUNDLED = Path(__file__).resolve().parents[2] / "workflows"
INSTALLED = Path(__file__).resolve().parents[2] / "connectors" / "bundled" / "workflows"
RUNNING_FILE = "running.json"


def bundled(*parts: str) -> Path:
    """A file or folder under workflows/, in a checkout or in an installed wheel."""
    return (BUNDLED if BUNDLED.is_dir() else INSTALLED).joinpath(*parts)


class Application:
    """One per process. Parts are imported when a command needs them, so that `hil --help` is instant."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: Running | None = None

    @asynccontextmanager
    async def started(self, report: Report) -> AsyncIterator[KafkaGateway]:
        from connectors.embedded import Embedded, EmbeddedError
        from streams.runtime import Publisher

        settings = self._settings
        async with AsyncExitStack() as stack:
            try:
                parts = await stack.enter_async_context(Embedded(settings, report=report))
            except EmbeddedError as error:
                raise CannotGoOn(str(error)) from error
            settings = replace(settings, kafka_bootstrap=parts.kafka_bootstrap, database_url=parts.database_url)
            settings, stand_in = await self._with_stand_ins(settings, stack, report)
            attached = Application(settings)
            await attached.create_topics()
            await attached.migrate()
            addresses = _addresses(settings, stand_in)
            publisher = await stack.enter_async_context(Publisher(parts.kafka_bootstrap))
            report("starting the processors")
            self._running = await stack.enter_async_context(running(settings, ALL, report))
            await attached.publish_workflows([str(path) for path in sorted(bundled().glob("*.yaml"))])
            await attached.knowledge("add", {"files": [str(path) for path in sorted(bundled("knowledge").glob("*.md"))]})
            stack.callback(_announce(settings.data, addresses))
            yield KafkaGateway(addresses, publisher)
            report("stopping")

    async def _with_stand_ins(self, settings: Settings, stack: AsyncExitStack, report: Report) -> tuple[Settings, bool]:
        """Fill in the rehearsal model and the toy shop for what is not configured."""
        own_model = not (settings.llm_base_url or settings.openai_api_key)
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

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[KafkaGateway]:
        from streams.runtime import Publisher

        settings = self._known()
        assert settings.kafka_bootstrap is not None
        async with Publisher(settings.kafka_bootstrap) as publisher:
            yield KafkaGateway(_addresses(settings, stand_in=False), publisher)

    def _known(self) -> Settings:
        """Settings filled in from the `hil up` that runs on the same data folder."""
        found = _running_here(self._settings.data)
        settings = self._settings
        if found is not None:
            settings = replace(
                settings,
                kafka_bootstrap=settings.kafka_bootstrap or found.kafka_bootstrap,
                database_url=settings.database_url or found.database_url,
                llm_base_url=settings.llm_base_url or found.llm_base_url or None,
                composio_base_url=settings.composio_base_url or found.composio_base_url or None,
            )
        if settings.kafka_bootstrap is None:
            raise CannotGoOn("nothing is running here: start `hil up` in another terminal, or set HIL_KAFKA_BOOTSTRAP")
        return settings

    async def serve(self, processors: Sequence[str], report: Report, ready: Callable[[], None]) -> None:
        async with running(self._known(), processors, report) as state:
            ready()
            await _first(state.until_failure(), _stop_signal())

    async def until_stopped(self, gateway: Any) -> None:
        assert self._running is not None
        await _first(self._running.until_failure(), _stop_signal())

    async def create_topics(self) -> list[str]:
        from connectors.kafka.admin import create_topics

        settings = self._known()
        assert settings.kafka_bootstrap is not None
        return await create_topics(
            settings.kafka_bootstrap, partitions=settings.topic_partitions, replication=settings.replication
        )

    async def check_topics(self) -> list[str]:
        from connectors.kafka.admin import check_topics

        settings = self._known()
        assert settings.kafka_bootstrap is not None
        return await check_topics(settings.kafka_bootstrap)

    async def migrate(self) -> list[str]:
        from connectors.postgres.migrate import migrate
        from streams.app.processors import _database

        return list(await migrate(_database(self._known())))

    async def publish_workflows(self, paths: Sequence[str]) -> list[PublishedWorkflow]:
        from streams.app.publishing import publish_files

        return await publish_files(self._known(), paths)

    async def list_workflows(self) -> list[PublishedWorkflow]:
        from streams.app.publishing import list_published

        return await list_published(self._known())

    async def knowledge(self, action: Literal["add", "list", "search"], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        from streams.app.knowledge import knowledge

        return await knowledge(self._known(), action, arguments)

    def demo_messages(self) -> list[dict[str, Any]]:
        lines = bundled("messages", "demo.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]


def _addresses(settings: Settings, stand_in: bool) -> Addresses:
    return Addresses(
        kafka_bootstrap=settings.kafka_bootstrap or "",
        database_url=settings.database_url or "",
        llm_base_url=settings.llm_base_url or "",
        composio_base_url=settings.composio_base_url or "",
        data=str(settings.data),
        pid=os.getpid(),
        stand_in=stand_in,
    )


def _announce(data: Path, addresses: Addresses) -> Callable[[], None]:
    """Tell other commands on this data folder where everything is; returns how to take it back."""
    path = data / RUNNING_FILE
    path.write_text(json.dumps(asdict(addresses)), encoding="utf-8")
    path.chmod(0o600)
    return lambda: path.unlink(missing_ok=True)


def _running_here(data: Path) -> Addresses | None:
    """The system that announced itself in this data folder, if its process still lives."""
    try:
        addresses = Addresses(**json.loads((data / RUNNING_FILE).read_text(encoding="utf-8")))
        os.kill(addresses.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return addresses


async def _stop_signal() -> None:
    """Return at the first SIGINT or SIGTERM. A second one ends the process at once."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: signal.Signals) -> None:
        stopped.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    await stopped.wait()


async def _first(*works: Any) -> None:
    """Wait for whichever ends first; raise what it raised; cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
