"""What every measurement stands on: a broker of its own in a temporary folder, topics, workflows, and processes to watch."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from connectors.embedded import Embedded
from connectors.kafka import admin
from connectors.settings import Settings
from schemas.workflow.definition import WorkflowDefinition
from streams.definitions import published
from streams.runtime import Publisher
from streams.wire import outgoing

PARTITIONS = 4
AGENT = "bench_agent"
ROOT = Path(__file__).parents[1]
START_SECONDS = 120


@asynccontextmanager
async def broker() -> AsyncIterator[str]:
    """An embedded Kafka with our topics, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="hil-bench-"))
    try:
        settings = Settings(data=folder, database_url="postgresql://nobody.invalid/unused")
        async with Embedded(settings, lambda words: None, durable=False) as parts:
            await admin.create_topics(parts.kafka_bootstrap, partitions=PARTITIONS)
            yield parts.kafka_bootstrap
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def chain(nodes: int) -> str:
    """The name of the workflow of so many nodes, one after the other."""
    return f"chain_{nodes}"


async def publish_chains(bootstrap: str, lengths: Iterable[int]) -> None:
    async with Publisher(bootstrap) as publisher:
        for nodes in lengths:
            names = [f"n{number}" for number in range(1, nodes + 1)]
            definition = WorkflowDefinition.model_validate(
                {
                    "name": chain(nodes),
                    "version": "1.0.0",
                    "workflow": {
                        "nodes": [{"id": name, "agent": AGENT, "prompt_template": "Answer {{ text }}"} for name in names],
                        "edges": [{"from": a, "to": b} for a, b in zip(names, [*names[1:], "END"], strict=True)],
                    },
                }
            )
            event = published(definition, "", {AGENT: "simple"}, at_ms=time.time_ns() // 1_000_000)
            await publisher.send([outgoing(event)])


@dataclass(slots=True)
class Worker:
    """A process under measurement."""

    name: str
    process: asyncio.subprocess.Process
    usage: psutil.Process
    ready: dict[str, Any]

    def cpu_seconds(self) -> float:
        times = self.usage.cpu_times()
        return float(times.user + times.system)

    def resident_mib(self) -> float:
        return float(self.usage.memory_info().rss) / 2**20

    async def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 30)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def worker(module: str, *arguments: str) -> AsyncIterator[Worker]:
    """`python -m bench.MODULE ARGUMENTS`: it prints one JSON line when it is ready, and ends when its standard input does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"bench.{module}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
    if not line:
        raise RuntimeError(f"bench.{module} {' '.join(arguments)} did not start (exit {await process.wait()}): see above")
    watched = Worker(module, process, psutil.Process(process.pid), json.loads(line))
    try:
        yield watched
    finally:
        await watched.stop()


ONE_PROCESS = ("intake,conversations,nodes",)
TWO_PROCESSES = ("conversations", "intake,nodes")
ONE_PROCESS_EACH = ("intake", "conversations", "nodes")


@asynccontextmanager
async def engine(
    bootstrap: str, groups: Sequence[str] = ONE_PROCESS, *, arguments: Sequence[str] = ()
) -> AsyncIterator[list[Worker]]:
    """The real processors with agents that cost nothing, one process for each group of them."""
    opened = [worker("engine", bootstrap, "--processors", group, *arguments) for group in groups]
    workers: list[Worker] = []
    try:
        for each in opened:
            workers.append(await each.__aenter__())
        yield workers
    finally:
        for each in opened[: len(workers)]:
            await each.__aexit__(None, None, None)


async def until_end_of_input() -> None:
    """Wait until whoever started us closes our standard input."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set()

    await loop.connect_read_pipe(Watch, sys.stdin)
    await ended.wait()


def say_ready(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
