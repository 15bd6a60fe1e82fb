"""What is sent becomes durable wherever leaders are, and what cannot is said with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime import Outgoing, Publisher, RuntimeFailed
from streams.runtime.broker import producer as module
from streams.runtime.broker.producer import BatchProducer
from streams.runtime.broker.requests import Produced
from tests.support.at_once import at_once

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
NOT_LEADER, TOO_FEW, TOO_LARGE = 6, 19, 10


class Cluster:
    """PatientClient as far as a producer asks it."""

    def __init__(self) -> None:
        self.leaders: dict[TopicPartition, int] = {A: 1, B: 2}
        self.answers: Callable[[int, TopicPartition], int | Exception] = lambda broker, partition: 0
        self.ids: list[Any] = []
        """What is answered to InitProducerId, in order; then one is given."""
        self.topics: dict[str, set[int]] = {"t": {0, 1}}
        self.reachable = True
        self.look_takes_s = 0.01
        self.known_later: dict[str, set[int]] = {}
        self.sent: list[tuple[int, TopicPartition, bytes]] = []
        self.cluster = self
        self.unauthorized_topics: set[str] = set()

    async def bootstrap(self) -> None: ...

    async def close(self) -> None: ...

    def add_topic(self, topic: str) -> None: ...

    async def ask_any(self, request: Any) -> Any:
        await asyncio.sleep(0.01)
        answer = self.ids.pop(0) if self.ids else 0
        return None if answer is None else SimpleNamespace(error_code=answer, producer_id=7, producer_epoch=0)

    def leader_for_partition(self, partition: TopicPartition) -> int:
        return self.leaders[partition]

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return self.topics.get(topic) if self.reachable else None

    async def force_metadata_update(self) -> bool:
        await asyncio.sleep(self.look_takes_s)
        self.topics |= self.known_later
        return self.reachable

    async def send(self, broker: int, request: Any) -> Any:
        await asyncio.sleep(0.01)
        produced = []
        for partition, data in request.batches:
            self.sent.append((broker, partition, data))
            answer = self.answers(broker, partition)
            if isinstance(answer, Exception):
                raise answer
            produced.append(Produced(partition, answer, 40))
        return produced

    def state_of(self, broker: int) -> str:
        return f"broker {broker} is as it is"

    def silence(self) -> str:
        return "nobody has answered"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(module, "PatientClient", lambda **_: made)
    monkeypatch.setattr(module, "ProduceRequest", lambda batches, **_: SimpleNamespace(batches=batches))
    return made


def told(story: Callable[[BatchProducer], Awaitable[Any]]) -> Any:
    async def play() -> Any:
        producer = BatchProducer(bootstrap_servers="broker:1", client_id="hil", batch_bytes=1_000)
        await producer.start()
        return await story(producer)

    return at_once(play())


def batches(producer: BatchProducer) -> list[tuple[TopicPartition, Any]]:
    made = []
    for partition in (A, B):
        batch = producer.batch()
        batch.append(Outgoing("t", b"k", b"v"))
        made.append((partition, batch))
    return made


def test_a_partition_without_a_leader_holds_up_none_that_has_one(cluster: Cluster):
    """They were on one request when both had the same leader. It was the first of them alone that decided who is asked."""
    cluster.leaders = {A: 1, B: 1}
    cluster.answers = lambda broker, partition: 0 if cluster.leaders[partition] == broker and broker == 2 else NOT_LEADER

    async def story(producer: BatchProducer) -> Any:
        sending = asyncio.ensure_future(producer.send(1, batches(producer)))
        await asyncio.sleep(1)
        cluster.leaders = {A: -1, B: 2}
        await asyncio.sleep(1)
        there = {partition for broker, partition, _ in cluster.sent if broker == 2}
        said = producer.trouble([A])
        cluster.leaders[A] = 2
        return there, said, await sending

    assert told(story) == ({B}, "no leader is known", [40, 40])


def test_a_batch_that_is_sent_again_is_the_same_to_the_byte(cluster: Cluster):
    """By its sequence the broker knows it again, however often and to whomever it is sent."""
    failures = [kafka_errors.RequestTimedOutError(), TOO_FEW, NOT_LEADER]
    cluster.answers = lambda broker, partition: failures.pop(0) if failures and partition == A else 0
    told(lambda producer: producer.send(1, batches(producer)))
    assert len([data for _, partition, data in cluster.sent if partition == A]) == 4
    assert len({data for _, partition, data in cluster.sent if partition == A}) == 1


def test_what_no_repetition_mends_is_raised(cluster: Cluster):
    cluster.answers = lambda broker, partition: TOO_LARGE
    with pytest.raises(kafka_errors.MessageSizeTooLargeError, match="t-0 refused records"):
        told(lambda producer: producer.send(1, batches(producer)))


def test_a_start_asks_again_for_its_id_while_brokers_come_and_go(cluster: Cluster):
    cluster.ids = [None, None, 14, 15, 16, 7, -1]

    async def story(producer: BatchProducer) -> int:
        return producer._id

    assert told(story) == 7
    assert cluster.ids == []


def test_a_start_that_gets_no_id_says_so(cluster: Cluster):
    cluster.ids = [None] * 10_000
    with pytest.raises(
        kafka_errors.KafkaConnectionError, match=r"no producer id was given for 60 s .*nobody has answered.*controller"
    ):
        told(lambda producer: producer.stop())


def published(cluster: Cluster, topic: str) -> float:
    """Publish a record that cannot be sent; raises why. Returns after how many s."""

    async def play() -> float:
        publisher = Publisher("broker:1")
        await publisher.start()
        try:
            await publisher.send_one(Outgoing(topic, b"k", b"v"))
        finally:
            await publisher.abort()
        return asyncio.get_running_loop().time()

    return at_once(play())


def test_create_it_is_said_of_a_topic_only_when_a_broker_says_that_it_is_not_there(cluster: Cluster):
    """With a frozen broker at hand it was said of topics that were there."""
    with pytest.raises(RuntimeFailed, match="topic nowhere is not known to the broker at broker:1: create it"):
        published(cluster, "nowhere")
    cluster.reachable = False
    with pytest.raises(RuntimeFailed, match=r"nobody says how many partitions topic t has: .*nobody has answered"):
        published(cluster, "t")


def test_a_topic_that_takes_long_to_be_looked_up_is_not_unknown(cluster: Cluster):
    """The only broker that answers at the time takes longer than a topic may stay unknown."""
    cluster.look_takes_s = 8.0
    cluster.known_later = {"later": {0}}
    cluster.leaders[TopicPartition("later", 0)] = 1
    assert published(cluster, "later") < 10


def test_a_record_that_nobody_accepts_ends_the_publisher_with_its_partition_and_the_reason(cluster: Cluster):
    """min.insync.replicas cannot be reached for longer than the patience."""
    cluster.answers = lambda broker, partition: TOO_FEW
    with pytest.raises(RuntimeFailed, match=r"records for t-\d have not been accepted for 60 s: .*NotEnoughReplicasError"):
        published(cluster, "t")
