"""A deployment to break: one broker or several, a database, the stand-ins, and `hil` workers of each kind as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from connectors.embedded import Embedded
from connectors.embedded.folder import recorded
from connectors.embedded.ports import free_ports
from connectors.settings import Settings
from streams.app.stand_ins import stand_ins
from tests.support.cluster import Cluster
from tests.support.system import environ, hil

EVERYTHING = "up"
"""The kind of a worker that runs all processors, with the addresses of the broker and the database given."""
KINDS = ("intake", "conversations", "nodes", "ledger", "projector", EVERYTHING)
PARTITIONS = 4
READY_SECONDS = 120.0


@dataclass
class Part:
    """An embedded broker or database that can be taken away and brought back at the same address."""

    name: str
    settings: Settings
    address: str = ""
    _embedded: Embedded | None = None

    async def start(self) -> None:
        self._embedded = Embedded(self.settings, lambda words: None, durable=False)
        parts = await self._embedded.__aenter__()
        self.address = parts.kafka_bootstrap if self.name == "kafka" else parts.database_url

    async def stop(self) -> None:
        if self._embedded is not None:
            embedded, self._embedded = self._embedded, None
            await embedded.__aexit__(None, None, None)

    async def restart(self, *, kill: bool) -> None:
        if kill:
            for pid in recorded(self.settings.data / "children.json"):
                with contextlib.suppress(psutil.Error):
                    victim = psutil.Process(pid)
                    for process in [*victim.children(recursive=True), victim]:
                        process.kill()
        await self.stop()
        await self.start()


@dataclass(frozen=True)
class Exit:
    """A process that ended by itself: when on the monotonic clock, with which code, and what it said last."""

    worker: str
    at: float
    code: int
    words: str


@dataclass
class Worker:
    """One `hil KIND` process, started anew by `Fleet.keep` whenever it has ended."""

    kind: str
    number: int
    process: asyncio.subprocess.Process | None = None
    held_until: float = 0.0
    """Not started again before, on the loop's clock."""
    starts: int = 0
    exits: list[Exit] = field(default_factory=list)
    """Those that ended by themselves."""
    killed: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, sig: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(sig)


class Fleet:
    """`async with Fleet(folder, workers={"nodes": 2, …}, environment={…}) as fleet`. Everything in `folder`, on loopback."""

    def __init__(
        self,
        folder: Path,
        workers: Mapping[str, int],
        environment: Mapping[str, str] | None = None,
        *,
        cluster: Cluster | None = None,
        partitions: int = PARTITIONS,
    ) -> None:
        """`cluster`: brokers to be started instead of the single embedded one."""
        self.folder, self.cluster, self.partitions = folder, cluster, partitions
        kafka_port, postgres_port = free_ports(2)
        self.kafka = Part(
            "kafka", Settings(data=folder / "kafka", kafka_port=kafka_port, database_url="postgresql://nobody.invalid/unused")
        )
        self.postgres = Part(
            "postgres", Settings(data=folder / "postgres", postgres_port=postgres_port, kafka_bootstrap="nobody.invalid:1")
        )
        self.workers = [Worker(kind, number) for kind in KINDS for number in range(workers.get(kind, 0))]
        self.shop_url = ""
        self._environment = dict(environment or {})
        self._stack = AsyncExitStack()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(self._start_brokers(), self.postgres.start())
            self._stack.push_async_callback(self.postgres.stop)
            addresses = await self._stack.enter_async_context(stand_ins())
            self.shop_url = addresses.composio_base_url
            self._environment |= {
                "HIL_KAFKA_BOOTSTRAP": self.bootstrap,
                "HIL_DATABASE_URL": self.postgres.address,
                "HIL_LLM_BASE_URL": addresses.llm_base_url,
                "HIL_COMPOSIO_BASE_URL": addresses.composio_base_url,
                "HIL_PARTITIONS": str(self.partitions),
            }
            for command in (("topics", "create"), ("db", "migrate"), ("workflows", "publish", *_workflows())):
                await self.run(*command)
            for worker in self.workers:
                await self._start(worker)
            await asyncio.gather(*(self.ready(worker) for worker in self.workers))
            await self.run("workflows", "publish", *_generous(self.folder))
            self._keeping = asyncio.create_task(self._keep())
            return self
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: Any) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            if worker.process is not None:
                try:
                    await asyncio.wait_for(worker.process.wait(), 30)
                except TimeoutError:
                    worker.process.kill()
                    await worker.process.wait()
        await self._stack.aclose()

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap if self.cluster is not None else self.kafka.address

    async def _start_brokers(self) -> None:
        if self.cluster is not None:
            await self._stack.enter_async_context(self.cluster)
        else:
            await self.kafka.start()
            self._stack.push_async_callback(self.kafka.stop)

    @property
    def exits(self) -> list[Exit]:
        """All that ended by themselves, in order."""
        return sorted((each for worker in self.workers for each in worker.exits), key=lambda each: each.at)

    def of(self, kind: str) -> list[Worker]:
        return [worker for worker in self.workers if worker.kind == kind]

    async def run(self, *arguments: str) -> str:
        """Run one `hil` command to its end; what it printed. Raises RuntimeError when it fails."""
        process = await asyncio.create_subprocess_exec(
            *hil(*arguments), env=self._env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"hil {' '.join(arguments)} failed with {process.returncode}: {output.decode()[-2000:]}")
        return output.decode()

    async def ready(self, worker: Worker) -> None:
        """Wait until a worker says that its partitions are restored."""
        log, deadline = self._log(worker), asyncio.get_running_loop().time() + READY_SECONDS
        words = "ready. Kafka" if worker.kind == EVERYTHING else f"{worker.kind} is ready"
        while words not in log.read_text():
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"{worker.name} was not ready in {READY_SECONDS:g} s:\n{log.read_text()[-2000:]}")
            await asyncio.sleep(0.05)

    def kill(self, worker: Worker, *, hold_s: float = 0.0) -> None:
        """kill -9. It is started again after `hold_s`."""
        worker.held_until = asyncio.get_running_loop().time() + hold_s
        worker.killed = True
        worker.signal(signal.SIGKILL)

    def tails(self, lines: int = 15) -> str:
        """The ends of all workers' logs, for a failure to show."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-lines:]) for path in sorted(self.folder.glob("*.log"))
        )

    async def _start(self, worker: Worker) -> None:
        worker.starts += 1
        worker.killed = False
        own = {"HIL_DATA": str(self.folder / worker.name)} if worker.kind == EVERYTHING else {}
        with self._log(worker).open("wb") as log:
            worker.process = await asyncio.create_subprocess_exec(
                *hil(worker.kind), env=self._env(HIL_INSTANCE=worker.name, **own), stdout=log, stderr=log, start_new_session=True
            )

    async def _keep(self) -> None:
        """The supervisor: what has ended is started again."""
        while True:
            for worker in self.workers:
                if not worker.alive and asyncio.get_running_loop().time() >= worker.held_until:
                    assert worker.process is not None
                    if not worker.killed and worker.process.returncode:
                        words = self._log(worker).read_text(errors="replace").strip().splitlines()[-1:]
                        worker.exits.append(Exit(worker.name, time.monotonic(), worker.process.returncode, "".join(words)))
                    await self._start(worker)
            await asyncio.sleep(0.05)

    def _log(self, worker: Worker) -> Path:
        return self.folder / f"{worker.name}.{worker.starts}.log"

    def _env(self, **more: str) -> dict[str, str]:
        static = {name: value for name, value in more.items() if name != "HIL_INSTANCE" or "HIL_INSTANCE" in self._environment}
        return environ(self.folder, **{**self._environment, **static}, PYTHONPATH=os.pathsep.join(sys.path))


def _workflows() -> list[str]:
    return [str(path) for path in sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml"))]


def _generous(folder: Path) -> list[str]:
    """The same with budgets that some thousand messages cannot use up: refusals would hide what kills do."""
    copies = []
    for path in map(Path, _workflows()):
        copy = folder / path.name
        copy.write_text(re.sub(r"^( *(?:daily|monthly)_budget:) .*$", r"\1 1000000", path.read_text(), flags=re.MULTILINE))
        copies.append(str(copy))
    return copies
