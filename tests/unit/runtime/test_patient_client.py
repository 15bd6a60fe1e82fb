"""A broker that is gone or frozen holds nobody up: a start, metadata, connections, requests and coordinators go to the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.metadata import MetadataRequest

from streams.runtime import patience
from streams.runtime.broker import client as module
from streams.runtime.broker.client import PatientClient
from streams.runtime.broker.outages import Outages
from tests.support.at_once import at_once

HOSTS = {1: "one", 2: "two", 3: "three"}
BOOTSTRAP = "one:1,two:1,three:1"


@dataclass
class World:
    """Three brokers. `behaves`: "well", "refuses", "frozen" (takes connections, says nothing), "mute" (says nothing more)."""

    behaves: dict[str, str] = field(default_factory=lambda: dict.fromkeys(HOSTS.values(), "well"))
    known: dict[int, str] = field(default_factory=lambda: dict(HOSTS))
    """What those that answer say about who is there."""
    topics: set[str] = field(default_factory=lambda: {"t"})
    connected: list[str] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    coordinator: list[Any] = field(default_factory=list)
    """What is answered to FindCoordinator, in order: a broker, or an error to raise."""

    async def connect(self, host: str, port: int, on_close: Any = None, **config: Any) -> Connection:
        if self.behaves[host] == "refuses":
            raise ConnectionRefusedError(111, "Connect call failed")
        if self.behaves[host] == "frozen":
            await asyncio.sleep(config["request_timeout_ms"] / 1000)
            raise TimeoutError
        self.connected.append(host)
        return Connection(self, host, on_close)

    def metadata(self, topics: Any) -> Any:
        found = [(0, topic, False, [(0, 0, 1, [1], [1])]) for topic in (topics or self.topics) if topic in self.topics]
        return SimpleNamespace(
            API_VERSION=1, brokers=[(node, host, 1, None) for node, host in self.known.items()], controller_id=1, topics=found
        )


class Connection:
    def __init__(self, world: World, host: str, on_close: Any) -> None:
        self._world, self.host, self.port, self._on_close = world, host, 1, on_close
        self._open = True
        self._owed: list[asyncio.Future[Any]] = []

    def connected(self) -> bool:
        return self._open

    async def send(self, request: Any, expect_response: bool = True) -> Any:
        if not self._open:
            raise kafka_errors.KafkaConnectionError("No connection")
        self._world.asked.append((self.host, request))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._world.behaves[self.host] in ("frozen", "mute"):
            self._owed.append(answer)
            return await answer
        await asyncio.sleep(0.01)
        if isinstance(request, MetadataRequest):
            return self._world.metadata(request._topics)
        if type(request).__name__ == "FindCoordinatorRequest":
            found = self._world.coordinator.pop(0)
            if isinstance(found, kafka_errors.BrokerResponseError):
                return SimpleNamespace(error_code=found.errno, coordinator_id=-1)
            if isinstance(found, Exception):
                raise found
            return SimpleNamespace(error_code=0, coordinator_id=found)
        return f"{self.host} answers"

    def close(self, reason: Any = None, exc: Any = None) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        if self._open:
            self._open = False
            for answer in self._owed:
                if not answer.done():
                    answer.set_exception(kafka_errors.KafkaConnectionError("closed"))
            if self._on_close is not None:
                self._on_close(self, reason)
        return done


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(module, "create_conn", made.connect)
    monkeypatch.setattr(module.random, "shuffle", lambda nodes: nodes.sort())
    monkeypatch.setattr(module.random, "sample", lambda all_of_them, count: list(all_of_them))
    return made


def told(story: Callable[[PatientClient], Awaitable[Any]], **config: Any) -> tuple[Any, float]:
    """(what the story returned, how long it took in s)."""

    async def play() -> tuple[Any, float]:
        loop = asyncio.get_running_loop()
        client = PatientClient(bootstrap_servers=BOOTSTRAP, **config)
        client.outages = Outages(loop.time)
        try:
            began = loop.time()
            result = await story(client)
            return result, loop.time() - began
        finally:
            await client.close()

    return at_once(play())


async def started(client: PatientClient) -> set[int]:
    await client.bootstrap()
    return {broker.nodeId for broker in client.cluster.brokers()}


def test_a_start_goes_on_to_the_brokers_that_answer(world: World):
    """The first is frozen, the second gone. aiokafka waits 40 s for the first."""
    world.behaves |= {"one": "frozen", "two": "refuses"}
    assert told(started) == ({1, 2, 3}, pytest.approx(2 * patience.HEDGE_S, abs=0.6))


def test_a_start_waits_for_a_broker_that_comes_later(world: World):
    async def story(client: PatientClient) -> set[int]:
        world.behaves |= {"one": "frozen", "two": "frozen", "three": "frozen"}
        asyncio.get_running_loop().call_later(10, world.behaves.update, {"two": "well"})
        return await started(client)

    nodes, took_s = told(story)
    assert nodes == {1, 2, 3}
    assert 10 <= took_s < 15


def test_a_start_that_fails_says_what_each_address_did(world: World):
    world.behaves |= {"one": "frozen", "two": "refuses", "three": "mute"}
    with pytest.raises(kafka_errors.KafkaConnectionError) as failure:
        told(started)
    said = str(failure.value)
    assert "one:1 has not answered" in said
    assert "two:1 refused the connection" in said
    assert "three:1 has not answered" in said


def test_where_nothing_listens_at_all_a_start_ends_soon(world: World):
    world.behaves |= dict.fromkeys(world.behaves, "refuses")

    async def story(client: PatientClient) -> None:
        with pytest.raises(kafka_errors.KafkaConnectionError):
            await client.bootstrap()

    assert patience.REFUSED_S < told(story)[1] < patience.REFUSED_S + 1


def test_a_request_is_given_up_as_soon_as_the_others_have_dropped_its_broker(world: World):
    """A frozen broker owes an answer. Its leaders move after some seconds; waiting longer for it helps nobody."""

    async def story(client: PatientClient) -> None:
        await started(client)
        assert await client.send(1, "a") == "one answers"
        world.behaves["one"] = "mute"
        asyncio.get_running_loop().call_later(4, world.known.pop, 1)
        with pytest.raises(kafka_errors.RequestTimedOutError):
            await client.send(1, "b")

    assert 4 < told(story)[1] < 4 + 2 * patience.STALLED_S + 1


def test_a_request_is_given_up_after_its_time_in_any_case(world: World):
    async def story(client: PatientClient) -> str:
        await started(client)
        world.behaves["one"] = "mute"
        others = asyncio.ensure_future(client.send(2, "c"))
        with pytest.raises(kafka_errors.RequestTimedOutError) as failure:
            await client.send(1, "b")
        assert failure.value.retriable
        return str(await others)

    said, took_s = told(story)
    assert said == "two answers"
    assert patience.REQUEST_S <= took_s < patience.REQUEST_S + 1


def test_who_connects_to_a_frozen_broker_keeps_nobody_from_connecting_to_another(world: World):
    async def story(client: PatientClient) -> Any:
        await started(client)
        world.behaves["one"] = "frozen"
        frozen = asyncio.ensure_future(client.send(1, "a"))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await client.send(2, "b")
        took_s = asyncio.get_running_loop().time() - began
        with pytest.raises(kafka_errors.NodeNotReadyError, match="broker 1 cannot be used: has not answered"):
            await frozen
        return took_s

    assert told(story)[0] < 0.1


def test_metadata_comes_from_the_others_while_one_is_mute(world: World):
    async def story(client: PatientClient) -> bool:
        await started(client)
        await client.send(1, "a")
        world.behaves["one"] = "mute"
        return bool(await client.force_metadata_update())

    updated, took_s = told(story)
    assert updated
    assert took_s < 2 * patience.HEDGE_S + 0.1


def test_metadata_does_not_wait_behind_a_record_that_waits_for_its_replicas(world: World):
    """A broker answers the requests of a connection one after the other."""

    async def story(client: PatientClient) -> float:
        await started(client)
        for node in HOSTS:
            await client.send(node, "a")
        world.behaves |= dict.fromkeys(world.behaves, "mute")
        owed = [asyncio.ensure_future(client.send(node, "a record")) for node in HOSTS]
        await asyncio.sleep(0.1)
        before = len(world.connected)
        world.behaves |= dict.fromkeys(world.behaves, "well")
        began = asyncio.get_running_loop().time()
        await client.force_metadata_update()
        took_s = asyncio.get_running_loop().time() - began
        for each in owed:
            each.cancel()
        assert len(world.connected) == before + 1
        return took_s

    assert told(story)[0] < 0.1


def test_brokers_that_came_back_while_nobody_knew_them_are_found_by_the_addresses_of_the_start(world: World):
    """Only one was left; it goes as well, and the two others come back. aiokafka asks for the one for ever."""

    async def story(client: PatientClient) -> tuple[Any, Any]:
        world.known = {1: "one"}
        before = await started(client)
        world.behaves["one"] = "refuses"
        world.known = {2: "two", 3: "three"}
        await client.force_metadata_update()
        return before, {broker.nodeId for broker in client.cluster.brokers()}

    assert told(story)[0] == ({1}, {2, 3})


def test_a_topic_that_is_added_while_metadata_is_on_its_way_is_asked_for_too(world: World):
    async def story(client: PatientClient) -> Any:
        world.topics = {"t", "u"}
        await started(client)
        client.add_topic("t")
        await asyncio.sleep(0.005)
        await client.add_topic("u")
        return client.cluster.partitions_for_topic("t"), client.cluster.partitions_for_topic("u")

    assert told(story)[0] == ({0}, {0})


def test_looking_up_goes_on_after_everybody_was_gone(world: World):
    async def story(client: PatientClient) -> list[bool]:
        await started(client)
        world.behaves |= dict.fromkeys(world.behaves, "refuses")
        before = await client.force_metadata_update()
        world.behaves |= dict.fromkeys(world.behaves, "well")
        await asyncio.sleep(1)
        return [before, await client.force_metadata_update()]

    assert told(story)[0] == [False, True]


def test_looking_up_outlives_whoever_hears_of_its_results(world: World):
    """Everybody who waits for metadata would wait for ever."""

    async def story(client: PatientClient) -> list[bool]:
        await started(client)

        def listener(_: Any) -> None:
            client.cluster.remove_listener(listener)
            raise ValueError("a defect")

        client.cluster.add_listener(listener)
        return [await client.force_metadata_update(), await client.force_metadata_update()]

    assert told(story)[0] == [False, True]


def test_a_connection_that_breaks_while_a_coordinator_is_looked_up_does_not_end_a_producer(world: World):
    """aiokafka's producers know three errors after which they ask again, and are finished after every other one."""
    world.coordinator = [
        kafka_errors.KafkaConnectionError("closed"),
        kafka_errors.CorrelationIdError("mixed up"),
        kafka_errors.UnknownError(),
        2,
    ]

    async def story(client: PatientClient) -> Any:
        await started(client)
        manager = TransactionManager("name", 60_000)
        sender = Sender(
            client, acks=-1, txn_manager=manager, message_accumulator=None, retry_backoff_ms=20, request_timeout_ms=60_000
        )
        return await sender._find_coordinator(CoordinationType.TRANSACTION, "name")

    assert told(story)[0] == 2


def test_a_refused_coordinator_look_up_is_told_as_it_is(world: World):
    world.coordinator = [kafka_errors.TransactionalIdAuthorizationFailed("name")]

    async def story(client: PatientClient) -> None:
        await started(client)
        with pytest.raises(kafka_errors.TransactionalIdAuthorizationFailed):
            await client.coordinator_lookup(CoordinationType.TRANSACTION, "name")

    told(story)


def test_two_groups_of_connections_to_one_broker_stand_beside_each_other(world: World):
    async def story(client: PatientClient) -> Any:
        await started(client)
        await client.send(1, "a")
        await client.send(1, "b", group=ConnectionGroup.COORDINATION)
        await client.send(1, "c")
        return world.connected.count("one")

    assert told(story)[0] == 3  # with that of the start


def test_a_broker_that_is_away_is_said_once_then_now_and_then_and_again_when_it_is_back(
    world: World, caplog: pytest.LogCaptureFixture
):
    """It was ten lines a second."""

    async def story(client: PatientClient) -> Any:
        await started(client)
        world.behaves["one"] = "refuses"
        attempts = 0
        while asyncio.get_running_loop().time() < 100:
            attempts += 1
            with pytest.raises(kafka_errors.NodeNotReadyError):
                await client.send(1, "a")
        world.behaves["one"] = "well"
        await asyncio.sleep(2)
        await client.send(1, "a")
        return attempts

    with caplog.at_level(logging.INFO, logger="streams"):
        attempts = told(story)[0]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("streams")]
    assert 100 < attempts < 1_000
    assert len(said) == 3
    assert said[0] == "the broker at one:1 cannot be used: refused the connection; it is tried again"
    assert "has not been usable for" in said[1]
    assert "is back after" in said[2]


def test_the_table_of_patience_fits_together():
    """A leader that dies or freezes moves, and a request that was owed by it is sent again, well before a process gives up."""
    assert patience.HEDGE_S < patience.CONNECT_S < patience.PRODUCE_S < patience.REQUEST_S < patience.LEADERS_MOVE_S
    assert patience.CONNECT_S < patience.REFUSED_S < patience.START_S < patience.BROKER_S
    assert patience.LEADERS_MOVE_S + patience.REQUEST_S + patience.PRODUCE_S < 45 < patience.BROKER_S
    assert patience.BROKER_S <= patience.TRANSACTION_S
