"""Ledger workers that are killed, frozen and thawed while they count: the sum stays what it is, to the micro-dollar."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas import events, topics
from schemas.codec import decode
from streams.runtime import Outgoing, Publisher
from tests.integration import ledger_world as world
from tests.support import ledger_worker

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("system")]
SESSION_MS = 1_500
EVENTS, ROUNDS = 12_000, 8


class Fleet:
    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self._command = [sys.executable, ledger_worker.__file__, bootstrap, prefix, str(SESSION_MS)]
        self._folder = folder
        self._started = 0
        self.workers: list[subprocess.Popen[bytes]] = []

    def add(self) -> None:
        self._started += 1
        with (self._folder / f"worker-{self._started}.log").open("wb") as log:
            self.workers.append(subprocess.Popen(self._command, stdout=log, stderr=log))

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def end(self) -> list[int]:
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
        return [worker.wait(30) for worker in self.workers]

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("worker-*.log")))


async def test_killed_and_frozen_workers_lose_and_double_no_micro_dollar(kafka_bootstrap: str, unique: str, tmp_path: Path):
    """Two workers under load; in each round one is killed or frozen past its session. Some events are on the topic twice."""
    await world.create(kafka_bootstrap, unique)
    chance = random.Random(5)
    fleet = Fleet(kafka_bootstrap, unique, tmp_path)
    try:
        fleet.add()
        fleet.add()
        loading = asyncio.create_task(_load(kafka_bootstrap, unique))
        for number in range(ROUNDS):
            await asyncio.sleep(chance.uniform(0.8, 2.5))
            victim = chance.choice(fleet.workers)
            if number % 4 == 3:
                victim.send_signal(signal.SIGSTOP)
                await asyncio.sleep(2 * SESSION_MS / 1000)
                victim.send_signal(signal.SIGCONT)
            else:
                fleet.kill(victim)
                fleet.add()
        await loading
        await world.caught_up(kafka_bootstrap, unique)
    finally:
        codes = fleet.end()
    records = await world.everything(kafka_bootstrap, _source(unique))
    sent = [decode(record.value, record.headers) for record in records if record.value != b"junk"]
    calls = [event for event in sent if isinstance(event, events.ModelCalled)]
    assert len(calls) > EVENTS, "some are repeated"
    assert world.counted(await world.rollups(kafka_bootstrap, unique)) == world.summed(calls), fleet.logs()
    assert codes == [0] * len(codes), fleet.logs()
    letters = await world.everything(kafka_bootstrap, ledger_worker.renamed(unique)[topics.DEAD_LETTERS])
    assert len(letters) == EVENTS // 500, "each record that is no event is buried once"


def _source(prefix: str) -> str:
    return ledger_worker.renamed(prefix)[topics.ROUTING_DECISIONS]


async def _load(bootstrap: str, prefix: str) -> None:
    async with Publisher(bootstrap) as publisher:
        for start in range(0, EVENTS, 100):
            batch: list[Any] = [world.record_of(prefix, world.call(number)) for number in range(start, start + 100)]
            batch += batch[10:13]  # as a node worker that crashed would publish them again
            if start % 500 == 0:
                batch.append(Outgoing(_source(prefix), b"k", b"junk"))
            await publisher.send(batch)
            await asyncio.sleep(0.12)
