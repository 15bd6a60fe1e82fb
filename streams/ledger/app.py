"""The Faust app: what it reads, its tables, and one agent for each source. It starts no web server and creates no topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import faust
from faust.types import EventT
from mode import Service

from schemas import topics
from streams.ledger.tables import LedgerAssignor, LedgerTable, LedgerTables, Takeover
from streams.ledger.transport import DirectTransport, SilentMonitor
from streams.runtime import Record, use_patient_clients
from streams.runtime.patience import BROKER_S
from streams.runtime.tolerant import tolerate_header_names

TABLES = (topics.LEDGER_CALLS, topics.LEDGER_ACTIONS, topics.LEDGER_ENDINGS)
PAGES = topics.LEDGER_SEEN
AT_ONCE = 200
"""Records an agent counts before others have their turn: some 15 ms."""
BUFFER = 4096
"""Records of a source that wait in memory."""


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    bootstrap: str
    group: str = "hil.ledger"
    client_id: str = "hil"
    instance: str | None = None
    session_timeout_ms: int = 4_500
    heartbeat_interval_ms: int = 300
    commit_interval_s: float = 1.0
    """Between two commits of a partition: what a crash makes count again, and how old a rollup may be."""
    patience_s: float = 30.0
    """Without any progress though there is work, before Faust is begun anew."""
    topics: Mapping[str, str] = field(default_factory=dict)
    """Other names for topics, for tests beside each other on one broker."""

    def named(self, topic: str) -> str:
        return self.topics.get(topic, topic)


class LedgerApp(faust.App):
    """A Faust app without its folder: the tables are in memory and the changelogs are the store."""

    takeover: Takeover

    async def on_first_start(self) -> None:
        """Nothing to create."""


def build(
    settings: LedgerSettings, takeover: Takeover, count: Callable[[Record], None]
) -> tuple[LedgerApp, dict[str, LedgerTable]]:
    """The app, not started, and its tables by the name of their changelog. `count` is given each record, and must not raise."""
    tolerate_header_names()
    use_patient_clients()
    app = LedgerApp(
        settings.group,
        broker=[f"kafka://{address.strip()}" for address in settings.bootstrap.split(",")],
        loop=asyncio.get_running_loop(),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_client_id=settings.client_id,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.heartbeat_interval_ms / 1000,
        broker_request_timeout=BROKER_S,
        broker_max_poll_records=2_000,
        consumer_group_instance_id=settings.instance,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=BUFFER,
        cython_optimizations=True,
        TableManager=LedgerTables,
        Monitor=SilentMonitor,
        PartitionAssignor=LedgerAssignor,
        Table=LedgerTable,
    )
    app.takeover = takeover
    app.transport = DirectTransport(app.conf.broker_consumer, app)
    tables = {name: _table(app, name, settings.named(name)) for name in TABLES}
    tables[PAGES] = _table(app, PAGES, settings.named(PAGES))
    for source in topics.LEDGER_SOURCES:
        _agent(app, source, settings.named(source), count)
    return app, tables


def _table(app: LedgerApp, name: str, changelog: str) -> LedgerTable:
    topic = app.topic(
        changelog,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        acks=False,
        internal=True,
        allow_empty=True,
    )
    table = app.Table(name, changelog_topic=topic, key_type=bytes, value_type=bytes)
    assert isinstance(table, LedgerTable)
    return table


def _agent(app: LedgerApp, source: str, name: str, count: Callable[[Record], None]) -> None:
    # acks=False: positions are committed with the tables, never by Faust.
    topic = app.topic(
        name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False, allow_empty=True
    )

    async def counting(stream: Any) -> None:
        waiting = stream.channel.queue
        async for event in stream.noack().events():
            count(_record(source, event))
            for _ in range(AT_ONCE):  # what has arrived with it, without a turn of the loop for each
                if waiting.empty() or not app.flow_control.is_active():
                    break
                event = waiting.get_nowait()
                if event.message.generation_id == app.consumer_generation_id:
                    count(_record(source, event))

    app.agent(topic, name=f"count {source}", concurrency=1)(counting)


def _record(source: str, event: EventT[Any]) -> Record:
    message = event.message
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    stamp = round(message.timestamp * 1000) if message.timestamp else 0
    return Record(source, message.partition, message.offset, stamp, message.key, message.value, tuple(pairs))


def crashed(app: Service) -> BaseException | None:
    """What ended the app, if anything did."""
    return app.crash_reason
