"""aiokafka's client of a cluster, made so that a broker that is gone or frozen holds up nobody who does not need that one.

aiokafka asks one broker after the other and waits for each as long as a request may take; opens connections one at a time; learns
of moved leaders when a request fails. Here questions that any broker can answer go to the next one after a moment, connections do
not wait for each other, and while an answer is missing leaders are looked up elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiokafka.admin.client
import aiokafka.consumer.consumer
import aiokafka.producer.producer
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason, create_conn
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest

from streams.runtime.broker.answers import first_of, in_words, may_pass
from streams.runtime.broker.outages import Address, Outages
from streams.runtime.patience import BACKOFF_S, CONNECT_S, HEDGE_S, REFUSED_S, REQUEST_S, STALLED_S, START_S

log = logging.getLogger(__name__)

METADATA_AGE_MS = 60_000
LOOK_S = 0.25
LOOKING = 2
"""Beside aiokafka's groups of connections: for questions any broker can answer, while others are owed on the first."""
_LONG = (JoinGroupRequest, SyncGroupRequest)
"""Answered when all members have joined, which may take a rebalance's timeout."""


def use_patient_clients() -> None:
    """Make aiokafka's consumers, producers and admin clients of this process patient. May be called any number of times."""
    for module in (aiokafka.consumer.consumer, aiokafka.producer.producer, aiokafka.admin.client):
        module.AIOKafkaClient = PatientClient


class Owed:
    """An answer that is on its way."""

    __slots__ = ("connection", "late", "limit_s", "node", "since")

    def __init__(self, node: Any, connection: Any, since: float, limit_s: float) -> None:
        self.node = node
        self.connection = connection
        self.since = since
        self.limit_s = limit_s
        self.late = False


class PatientClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """An AIOKafkaClient for any of aiokafka's clients, or for our own."""

    _sync_task: asyncio.Task[None] | None
    _md_update_waiter: asyncio.Future[None]
    _md_update_fut: asyncio.Future[bool] | None
    outages = Outages()
    """Of the process: that a broker cannot be reached is a fact about the machine it runs on, and said once."""

    def __init__(self, *, start_s: float = START_S, **config: Any) -> None:
        """`start_s`: how long `bootstrap` tries. The rest is AIOKafkaClient's."""
        config["metadata_max_age_ms"] = min(METADATA_AGE_MS, config.get("metadata_max_age_ms", METADATA_AGE_MS))
        super().__init__(**config)
        self.heard_at = self._loop.time()
        """When a broker last answered anything, on the loop's clock."""
        self._start_s = min(start_s, self._request_timeout_ms / 1000)
        self._owed: dict[Owed, None] = {}
        self._connecting: dict[tuple[Any, int], asyncio.Task[Any]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._seen: dict[Address, None] = {}
        """Where brokers were, for when none of those known now answers."""

    # start and end

    async def bootstrap(self) -> None:
        """Raises KafkaConnectionError, in words for each address, when no broker has answered in time."""
        clock = self._loop
        began = clock.time()
        while True:
            tried: dict[Address, str] = {}
            found = await self._from_addresses([(host, port) for host, port, _ in self.hosts], MetadataRequest([]), tried)
            if found is not None:
                break
            passed = clock.time() - began
            refused = all("refused" in why for why in tried.values())
            if passed > self._start_s or (refused and passed > REFUSED_S):
                raise kafka_errors.KafkaConnectionError("; ".join(f"{host}:{port} {why}" for (host, port), why in tried.items()))
            await asyncio.sleep(min(2 * BACKOFF_S, self._start_s))
        self._learn(self.cluster, found)
        if self._sync_task is None:
            self._sync_task = clock.create_task(self._md_synchronizer())
            self._watching = clock.create_task(self._watch())

    async def close(self) -> None:
        tasks = [task for task in (self._watching, *self._connecting.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().close()

    # requests

    async def send(self, node_id: Any, request: Any, *, group: int = ConnectionGroup.DEFAULT) -> Any:
        """Raises a retriable KafkaError when the broker cannot be reached, or has not answered in time."""
        connection = await self._get_conn(node_id, group=group)
        if connection is None:
            raise kafka_errors.NodeNotReadyError(f"broker {node_id} cannot be used: {self._why_not(node_id)}")
        if getattr(request, "required_acks", None) == 0:
            return await connection.send(request, expect_response=False)
        longest_s = self._request_timeout_ms / 1000
        owed = Owed(
            node_id, connection, self._loop.time(), longest_s if isinstance(request, _LONG) else min(longest_s, REQUEST_S)
        )
        self._owed[owed] = None
        try:
            answer = await connection.send(request)
        except (TimeoutError, kafka_errors.KafkaConnectionError) as error:
            if isinstance(error, TimeoutError):
                connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            elif not owed.late:
                raise
            raise kafka_errors.RequestTimedOutError(f"broker {node_id} has not answered") from error
        finally:
            self._owed.pop(owed, None)
        self.heard_at = self._loop.time()
        return answer

    async def _watch(self) -> None:
        """While answers are missing look up who leads, and give up those of brokers that the others have dropped."""
        looked_at = self._loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._loop.time()
            stalled = [owed for owed in self._owed if now - owed.since > (STALLED_S if owed.limit_s <= REQUEST_S else REQUEST_S)]
            if stalled and now - looked_at > STALLED_S:
                looked_at = now
                self.force_metadata_update()
            for owed in stalled:
                if owed.late:
                    continue
                dropped = self.cluster.broker_metadata(owed.node) is None
                if dropped or now - owed.since > owed.limit_s:
                    self._give_up(owed, "the other brokers have dropped it" if dropped else f"no answer for {owed.limit_s:g} s")

    def _give_up(self, owed: Owed, why: str) -> None:
        owed.late = True
        for other in self._owed:
            other.late = other.late or other.connection is owed.connection
        self.outages.failed((owed.connection.host, owed.connection.port), why)
        owed.connection.close(reason=CloseReason.CONNECTION_TIMEOUT)

    # connections

    async def _get_conn(self, node_id: Any, *, group: int = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:
        """None when there is no connection to be had now. Then a moment has passed."""
        key = (node_id, group)
        connection = self._conns.get(key)
        if connection is not None and connection.connected():
            return connection
        self._conns.pop(key, None)
        connecting = self._connecting.get(key)
        if connecting is None:
            connecting = self._connecting[key] = self._loop.create_task(self._connect(key))
            connecting.add_done_callback(lambda _: self._connecting.pop(key, None))
        return await asyncio.shield(connecting)

    async def _connect(self, key: tuple[Any, int]) -> Any:
        broker = self.cluster.broker_metadata(key[0])
        if broker is None:
            self.force_metadata_update()
            await asyncio.sleep(BACKOFF_S)
            return None
        address = (broker.host, broker.port)
        waiting = self.outages.wait_s(address)
        if waiting:
            await asyncio.sleep(min(waiting, 3 * BACKOFF_S))
            if self.outages.wait_s(address):
                return None
        connection, why = await self._open(address, on_close=self._on_connection_closed)
        if connection is None:
            self.outages.failed(address, why)
            self.force_metadata_update()
            await asyncio.sleep(BACKOFF_S)
            return None
        self._conns[key] = connection
        return connection

    async def _open(self, address: Address, on_close: Callable[..., None] | None = None) -> tuple[Any, str]:
        """(a connection that has been greeted, or None; why not)."""
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await create_conn(
                    *address,
                    client_id=self._client_id,
                    request_timeout_ms=self._request_timeout_ms,
                    ssl_context=self._ssl_context,
                    security_protocol=self._security_protocol,
                    on_close=on_close,
                    max_idle_ms=self._connections_max_idle_ms,
                    sasl_mechanism=self._sasl_mechanism,
                    sasl_plain_username=self._sasl_plain_username,
                    sasl_plain_password=self._sasl_plain_password,
                    sasl_kerberos_service_name=self._sasl_kerberos_service_name,
                    sasl_kerberos_domain_name=self._sasl_kerberos_domain_name,
                    sasl_oauth_token_provider=self._sasl_oauth_token_provider,
                )
        except (OSError, kafka_errors.KafkaError, AssertionError, TimeoutError) as error:
            return None, in_words(error)
        self.outages.reached(address)
        return connection, ""

    def _why_not(self, node_id: Any) -> str:
        broker = self.cluster.broker_metadata(node_id)
        if broker is None:
            return "the other brokers do not know it"
        return self.outages.why((broker.host, broker.port)) or "it can be reached"

    def state_of(self, node_id: Any) -> str:
        """For people: why a broker may not answer."""
        oldest = min((owed.since for owed in self._owed if owed.node == node_id), default=None)
        owes_s = 0.0 if oldest is None else self._loop.time() - oldest
        return f"it has owed an answer for {owes_s:.1f} s" if owes_s > HEDGE_S else self._why_not(node_id)

    def silence(self) -> str:
        """For people: what every broker that was ever known here has last said."""
        addresses = [*((host, port) for host, port, _ in self.hosts), *self._seen]
        said = {f"{host}:{port}": self.outages.why((host, port)) or "has not answered" for host, port in addresses}
        return "; ".join(f"{address} {why}" for address, why in said.items())

    def is_out(self, node_id: Any) -> bool:
        broker = self.cluster.broker_metadata(node_id)
        return broker is None or (broker.host, broker.port) in self.outages

    # what any broker can answer

    def get_random_node(self) -> Any:
        nodes = self._nodes()
        usable = [node for node in nodes if not self.is_out(node)] or nodes
        return usable[0] if usable else None

    def _nodes(self) -> list[Any]:
        """Of all brokers, in no order but that those that answer are first."""
        nodes = sorted(broker.nodeId for broker in self.cluster.brokers())
        random.shuffle(nodes)
        return sorted(nodes, key=self.is_out)

    async def coordinator_lookup(self, coordinator_type: int, coordinator_key: str) -> Any:
        """What may pass is told as CoordinatorNotAvailableError: aiokafka's producers ask again after it, and die of others."""
        answer = await self.ask_any(FindCoordinatorRequest(coordinator_key, coordinator_type))
        error = kafka_errors.for_code(answer.error_code) if answer is not None else kafka_errors.CoordinatorNotAvailableError
        if error is not kafka_errors.NoError:
            raise (kafka_errors.CoordinatorNotAvailableError if may_pass(error) else error)(coordinator_key)
        node = answer.coordinator_id
        if self.is_out(node):
            await asyncio.sleep(BACKOFF_S)  # it is asked again at once, until another is named
        return node

    async def _md_synchronizer(self) -> None:
        """aiokafka's, but it sees when topics are added while it asks, and outlives whatever goes wrong."""
        while True:
            await asyncio.wait([self._md_update_waiter], timeout=self._metadata_max_age_ms / 1000)
            if self._md_update_fut is None:
                self._md_update_fut = self._loop.create_future()
            while True:
                topics = frozenset(self._topics)
                try:
                    updated = await self._metadata_update(self.cluster, topics)
                except Exception:  # whoever waits for metadata would wait for ever
                    log.exception("metadata could not be taken in")
                    updated = False
                if not updated or topics == self._topics:
                    break
            self._md_update_waiter = self._loop.create_future()
            self._md_update_fut.set_result(updated)
            self._md_update_fut = None
            if not updated:
                await asyncio.sleep(BACKOFF_S)

    async def ask_any(self, request: Any) -> Any:
        """The first answer of any broker to what each of them can answer, and may be asked twice. None when there is none."""
        return await first_of([self._asks(node, request) for node in self._nodes()], HEDGE_S)

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        request = MetadataRequest(sorted(topics) if topics else None)
        found = await self.ask_any(request)
        if found is None:  # none of those known answers: others may by now, under addresses that are known from before
            addresses = [(host, port) for host, port, _ in self.hosts]
            found = await self._from_addresses([*addresses, *(each for each in self._seen if each not in addresses)], request, {})
        if found is None:
            cluster_metadata.failed_update(None)
            return False
        self._learn(cluster_metadata, found)
        return True

    def _learn(self, cluster: Any, metadata: Any) -> None:
        self.heard_at = self._loop.time()
        cluster.update_metadata(metadata)
        self._seen.update(((broker.host, broker.port), None) for broker in sorted(cluster.brokers()))

    def _asks(self, node: Any, request: Any) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            try:
                answer = await self.send(node, request, group=self._free(node))
            except (kafka_errors.KafkaError, TimeoutError, OSError):
                return None
            return _usable(answer) if isinstance(request, MetadataRequest) else answer

        return ask

    def _free(self, node: Any) -> int:
        """Not behind what is owed: a broker answers a connection in order, and a record waits there for its replicas."""
        connection = self._conns.get((node, ConnectionGroup.DEFAULT))
        return LOOKING if any(owed.connection is connection for owed in self._owed) else ConnectionGroup.DEFAULT

    async def _from_addresses(self, addresses: Sequence[Address], request: Any, tried: dict[Address, str]) -> Any:
        """Metadata from the first of some addresses that has any. `tried`: gets what the others said."""

        def asks(address: Address) -> Callable[[], Awaitable[Any]]:
            async def ask() -> Any:
                tried[address] = "has not answered"
                connection, why = await self._open(address)
                if connection is None:
                    tried[address] = why
                    return None
                try:
                    async with asyncio.timeout(CONNECT_S):
                        found = _usable(await connection.send(request))
                except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
                    tried[address] = in_words(error)
                    return None
                else:
                    if found is None:
                        tried[address] = "answers, and knows no broker yet"
                    return found
                finally:
                    connection.close(reason=CloseReason.SHUTDOWN)

            return ask

        shuffled = random.sample(addresses, len(addresses))
        return await first_of([asks(address) for address in sorted(shuffled, key=self.outages.__contains__)], HEDGE_S)


def _usable(metadata: Any) -> Any:
    return metadata if metadata.brokers else None
