"""Several brokers on loopback, each of which can be killed, frozen and brought back: `async with Cluster(folder) as cluster`.

Every node is an Apache Kafka of the embedded parts, broker and controller in one, in a process group of its own that ends with
this process. Three nodes take about 1.2 GiB while they run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.protocol.api import Request
from aiokafka.protocol.metadata import MetadataRequest

from connectors.embedded import jars, kafka, launch
from connectors.embedded.logs import tail
from connectors.embedded.ports import LOOPBACK
from tests.support.kafka_requests import DescribeQuorum, ElectLeaders

READY_SECONDS = 180.0
STOP_SECONDS = 60.0
MOVE_SECONDS = 10.0
ASK_SECONDS = 10.0
CONTROLLER_SECONDS = 2.0
SMALL_HEAP = "384m"
SOON = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
"""Settings with which a silent broker loses its leaderships after 3 s; Kafka's own default is 9."""


@dataclass
class Broker:
    """One node, and what is being done to it."""

    node: kafka.Node
    home: Path
    process: asyncio.subprocess.Process | None = None
    frozen: bool = False

    @property
    def number(self) -> int:
        return self.node.number

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.node.port}"

    @property
    def alive(self) -> bool:
        """Its process runs, frozen or not."""
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def logs(self) -> tuple[Path, Path]:
        return self.home.parent / "logs" / "kafka.log", self.home.parent / "logs" / "console.log"


@dataclass
class Partition:
    """A partition as the cluster describes it."""

    topic: str
    number: int
    leader: int
    """-1: none."""
    replicas: list[int] = field(default_factory=list)
    in_sync: list[int] = field(default_factory=list)


class Cluster:
    """Some brokers with replication 3 (at most) and min.insync.replicas one less, also of the internal topics."""

    def __init__(
        self, folder: Path, brokers: int = 3, *, settings: Mapping[str, str] | None = None, heap: str = SMALL_HEAP
    ) -> None:
        """`settings`: of each broker, beyond and above those of the embedded one."""
        ports = steady_ports(2 * brokers)
        self.brokers = {
            number: Broker(
                kafka.Node(number, ports[2 * number - 2], ports[2 * number - 1]), folder / f"broker-{number}" / "kafka"
            )
            for number in range(1, brokers + 1)
        }
        self._settings, self._heap = dict(settings or {}), heap
        self._class_path: list[Path] = []

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, whatever state they are in."""
        return ",".join(broker.address for broker in self.brokers.values())

    @property
    def up(self) -> list[int]:
        """Those that run and are not frozen."""
        return [number for number, broker in self.brokers.items() if broker.alive and not broker.frozen]

    async def __aenter__(self) -> Self:
        try:
            self._class_path = await jars.class_path(lambda words: None)
            identity = kafka.new_identity()
            await asyncio.gather(*(self._format(broker, identity) for broker in self.brokers.values()))
            for number in self.brokers:
                await self._launch(number)
            await self.settled()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill(*self.brokers)

    # What is done to them.

    async def kill(self, *numbers: int) -> None:
        """kill -9 of all of them at once."""
        for number in numbers:
            self._signal(self.brokers[number], signal.SIGKILL)
        for number in numbers:
            await self._gone(self.brokers[number])

    async def start(self, *numbers: int) -> None:
        """Bring back what was killed or stopped, at the same address with the same data, and wait until it takes requests."""
        for number in numbers:
            await self._launch(number)
        await asyncio.gather(*(self._answering(number) for number in numbers))

    async def stop(self, number: int) -> None:
        """In order: the broker hands its leaderships over first."""
        broker = self.brokers[number]
        self._signal(broker, signal.SIGTERM)
        try:
            await asyncio.wait_for(self._gone(broker), STOP_SECONDS)
        except TimeoutError:
            await self.kill(number)

    def freeze(self, *numbers: int) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        for number in numbers:
            self._signal(self.brokers[number], signal.SIGSTOP)
            self.brokers[number].frozen = True

    def thaw(self, *numbers: int) -> None:
        for number in numbers:
            self.brokers[number].frozen = False
            self._signal(self.brokers[number], signal.SIGCONT)

    async def roll(self, *, in_sync: bool = True) -> None:
        """Stop and start every broker in turn. `in_sync`: the next one only when every replica has caught up."""
        for number in self.brokers:
            await self.stop(number)
            await self.start(number)
            if in_sync:
                await self.settled()

    async def move_leaders(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Give every partition that has another replica in sync another leader, the internal ones too.

        Returns (topic, partition) → (leader before, leader after), of those that have another one.
        """
        before = {(each.topic, each.number): each for each in await self.partitions()}
        turned: dict[str, list[tuple[int, list[int], dict[int, bytes]]]] = {}
        for (topic, number), each in before.items():
            others = [replica for replica in each.replicas if replica != each.leader and replica in each.in_sync]
            if others:
                first = others[number % len(others)]
                rest = [replica for replica in each.replicas if replica != first]
                turned.setdefault(topic, []).append((number, [first, *rest], {}))
        topics: Any = [(topic, parts, {}) for topic, parts in turned.items()]
        answer = await self.ask(AlterPartitionReassignmentsRequest(30_000, topics, {}))
        _no_error(answer.error_code)
        _no_error((await self.ask(ElectLeaders())).error_code, allowed=("ElectionNotNeeded", "PreferredLeaderNotAvailable"))
        wanted = {(topic, part): replicas[0] for topic, parts in turned.items() for part, replicas, _ in parts}
        deadline = time.monotonic() + MOVE_SECONDS
        while True:  # what a broker says follows the controller with a delay
            after = {(each.topic, each.number): each.leader for each in await self.partitions()}
            if all(after.get(place) == first for place, first in wanted.items()) or time.monotonic() > deadline:
                return {place: (each.leader, after[place]) for place, each in before.items() if after[place] != each.leader}
            await asyncio.sleep(0.1)

    # What they say.

    async def partitions(self, *topics: str, of: int | None = None) -> list[Partition]:
        """Of these topics, or of all; as broker `of` has it, or the first that answers."""
        answer = await self.ask(MetadataRequest(list(topics) or None), of)
        return [
            Partition(topic["topic"], part["partition"], part["leader"], part["replicas"], part["isr"])
            for topic in answer.to_object()["topics"]
            for part in topic["partitions"]
        ]

    async def leader(self, topic: str, partition: int) -> int:
        """The broker that leads it; -1 for none."""
        return next((each.leader for each in await self.partitions(topic) if each.number == partition), -1)

    async def led_by(self, number: int) -> list[tuple[str, int]]:
        """What a broker leads."""
        return [(each.topic, each.number) for each in await self.partitions() if each.leader == number]

    async def controller(self) -> int:
        """The node whose controller is the active one; -1 while there is none."""
        for number in self.up:
            try:
                answer = (await asyncio.wait_for(self.ask(DescribeQuorum(), number), CONTROLLER_SECONDS)).to_object()
            except (KafkaError, OSError, TimeoutError):
                continue  # it asks the active controller, which may be gone
            parts = [part for topic in answer["topics"] for part in topic["partitions"]]
            if parts and not parts[0]["error_code"]:
                return int(parts[0]["leader_id"])
        return -1

    async def settled(self) -> None:
        """Wait until every broker takes requests and every partition has a leader and all its replicas in sync."""
        await asyncio.gather(*(self._answering(number) for number in self.brokers))
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                views = [await self.partitions(of=number) for number in self.brokers]
                late = [each for view in views for each in view if each.leader < 0 or len(each.in_sync) < len(each.replicas)]
            except (KafkaError, OSError, TimeoutError):
                late = [Partition("no answer", 0, -1)]
            if not late:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the brokers did not settle in {READY_SECONDS:g} s: {late[:3]}")
            await asyncio.sleep(0.2)

    async def ask(self, request: Request[Any], number: int | None = None) -> Any:
        """The answer of one broker; without a number, of the first that runs. Raises KafkaError, OSError, TimeoutError."""
        if number is None and not self.up:
            raise ConnectionError("no broker runs")
        broker = self.brokers[self.up[0] if number is None else number]
        connection = await create_conn(LOOPBACK, broker.node.port, request_timeout_ms=int(ASK_SECONDS * 1000))
        try:
            return await connection.send(request)
        finally:
            await connection.close()

    def tails(self, lines: int = 15) -> str:
        """The ends of the brokers' logs, for a failure to show."""
        return "\n".join(
            f"--- {log.parents[1].name}/{log.name}\n" + "\n".join(tail(log).splitlines()[-lines:])
            for broker in self.brokers.values()
            for log in broker.logs
        )

    # How they run.

    def _configure(self, broker: Broker) -> None:
        nodes = [each.node for each in self.brokers.values()]
        kafka.configure(broker.home, broker.logs[0], broker.node, nodes)
        with (broker.home / "server.properties").open("a", encoding="latin-1") as file:
            file.writelines(f"{name}={value}\n" for name, value in self._settings.items())

    async def _format(self, broker: Broker, identity: str) -> None:
        for folder in (broker.home, broker.logs[0].parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._configure(broker)
        process = await self._run(broker, kafka.format_command(broker.home, self._class_path, identity))
        if await process.wait():
            raise RuntimeError(f"broker {broker.number} could not be prepared:\n{tail(broker.logs[1])}")

    async def _launch(self, number: int) -> None:
        broker = self.brokers[number]
        self._configure(broker)
        java = kafka.java(broker.home, self._class_path, heap=self._heap)
        broker.process = await self._run(broker, [*java, "kafka.Kafka", str(broker.home / "server.properties")])
        broker.frozen = False

    async def _run(self, broker: Broker, command: Sequence[str]) -> asyncio.subprocess.Process:
        launcher = [
            sys.executable,
            "-I",
            "-S",
            launch.__file__,
            "--parent",
            str(os.getpid()),
            "--signal",
            str(int(signal.SIGKILL)),
            "--",
        ]
        with broker.logs[1].open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *launcher, *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )

    async def _answering(self, number: int) -> None:
        """Wait until a broker takes requests and is known to the cluster."""
        broker, deadline = self.brokers[number], time.monotonic() + READY_SECONDS
        while True:
            if not broker.alive:
                raise RuntimeError(f"broker {number} ended:\n{self.tails()}")
            try:
                seen = {each["node_id"] for each in (await self.ask(MetadataRequest([]), number)).to_object()["brokers"]}
                if number in seen:
                    return
            except (KafkaError, OSError, TimeoutError):
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"broker {number} did not answer in {READY_SECONDS:g} s:\n{self.tails()}")
            await asyncio.sleep(0.1)

    @staticmethod
    async def _gone(broker: Broker) -> None:
        if broker.process is not None:
            await broker.process.wait()

    @staticmethod
    def _signal(broker: Broker, sig: signal.Signals) -> None:
        if broker.alive:
            os.killpg(broker.pid, sig)


def steady_ports(count: int) -> list[int]:
    """Free ports that stay free while their broker is away: outside the range the system takes for outgoing connections.

    A client that calls a port of that range on loopback while nobody listens can even be connected to itself.
    """
    try:
        highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        highest = 49_152
    chosen: list[int] = []
    while len(chosen) < count:
        port = random.SystemRandom().randrange(min(20_000, highest - 2_000), highest)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if port not in chosen:
            chosen.append(port)
    return chosen


def _no_error(code: int, allowed: Sequence[str] = ()) -> None:
    error = for_code(code)
    if code and error.__name__ not in allowed:
        raise error()
