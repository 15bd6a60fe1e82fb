"""Every partition that is wanted is asked for, in whatever order brokers, leaders and readers come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime.broker import fetching as module
from streams.runtime.broker.fetching import Fetching
from streams.runtime.broker.requests import Fetched
from streams.runtime.model import RuntimeFailed
from tests.support.at_once import at_once

A, B, C = (TopicPartition("t", number) for number in range(3))
NOT_LEADER = kafka_errors.NotLeaderForPartitionError.errno
AUTHORIZATION = kafka_errors.TopicAuthorizationFailedError.errno


class Cluster:
    """What PatientClient is asked for: who leads, who answers, and what was asked of whom."""

    def __init__(self) -> None:
        self.leaders: dict[TopicPartition, int] = {}
        self.known: dict[TopicPartition, int] = {}
        """As the last metadata said."""
        self.behaves: dict[int, str] = {}
        """Broker → "frozen", "gone"; all others answer."""
        self.refuses: dict[tuple[int, TopicPartition], int] = {}
        self.asked: list[tuple[float, int, frozenset[TopicPartition]]] = []
        self.looks: list[float] = []
        self.failing_looks = 0
        self.look_takes_s = 0.01
        self.heard_at = 0.0
        self.cluster = self
        self._listeners: list[Any] = []

    # the client

    async def bootstrap(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()

    async def close(self) -> None: ...

    def add_listener(self, listener: Any) -> None:
        self._listeners.append(listener)

    def add_topic(self, topic: str) -> None: ...

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return self.known.get(partition)

    def force_metadata_update(self) -> asyncio.Future[bool]:
        return asyncio.ensure_future(self._look())

    async def _look(self) -> bool:
        self.looks.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.look_takes_s)
        if self.failing_looks:
            self.failing_looks -= 1
            return False
        self.told()
        return True

    def told(self) -> None:
        """The client has new metadata, for whatever reason."""
        if "everywhere" not in self.behaves.values():
            self.heard_at = asyncio.get_running_loop().time()
            self.known = dict(self.leaders)
            for listener in self._listeners:
                listener(self)

    async def send(self, broker: int, request: Any) -> list[Fetched]:
        loop = asyncio.get_running_loop()
        self.asked.append((loop.time(), broker, frozenset(request.wanted)))
        match self.behaves.get(broker):
            case "gone":
                await asyncio.sleep(0.1)
                raise kafka_errors.NodeNotReadyError(f"broker {broker}")
            case "frozen" | "everywhere":
                await asyncio.sleep(8)
                raise kafka_errors.RequestTimedOutError
        await asyncio.sleep(0.1)
        self.heard_at = loop.time()
        return [
            Fetched(tp, self.refuses.get((broker, tp), 0 if self.leaders.get(tp) == broker else NOT_LEADER), 0, [], b"")
            for tp in request.wanted
        ]

    def state_of(self, broker: int) -> str:
        return "it is as it is"

    def silence(self) -> str:
        return "nobody has answered"

    # what the tests ask

    def asked_for(self, partition: TopicPartition, broker: int, since: float = -1.0) -> bool:
        return any(at > since and asked == broker and partition in wanted for at, asked, wanted in self.asked)


class Reading:
    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()
        self.failure: Exception | None = None

    def wanted(self, partition: TopicPartition) -> int | None:
        return None if partition in self.paused else 5

    def take(self, fetched: Fetched, position: int) -> bool:
        if fetched.error:
            raise kafka_errors.for_code(fetched.error)
        return False

    def offer(self, partition: TopicPartition, offset: int, batch: Any) -> bool:
        return True

    def begin(self, partition: TopicPartition, out: Any) -> bool:
        return False

    def fail(self, error: Exception) -> None:
        self.failure = error


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(module, "PatientClient", lambda **_: made)
    monkeypatch.setattr(module, "FetchRequest", lambda wanted, **_: SimpleNamespace(wanted=wanted))
    return made


def fetched(
    cluster: Cluster, story: Any, reading: Reading | None = None, leaders: Mapping[TopicPartition, int] | None = None
) -> Any:
    """Play a story: `async def story(fetching, reading)`."""

    async def play() -> Any:
        cluster.leaders = dict(leaders or {})
        fetching = Fetching("broker:1")
        await fetching.start()
        try:
            return await story(fetching, reading or Reading())
        finally:
            await fetching.stop()

    return at_once(play())


def unread(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


LEADERS = {A: 1, B: 2, C: 3}


def test_what_is_resumed_while_leaders_are_being_looked_up_is_asked_for_as_well(cluster: Cluster):
    """The second one was never asked for: nobody woke its broker when the leaders became known."""

    async def story(fetching: Fetching, reading: Reading) -> None:
        fetching.read(A, reading)
        await asyncio.sleep(cluster.look_takes_s / 2)
        fetching.read(B, reading)
        fetching.read(C, reading)
        await asyncio.sleep(1)

    fetched(cluster, story, leaders=LEADERS)
    assert all(cluster.asked_for(partition, broker) for partition, broker in LEADERS.items())


def test_a_leader_that_moves_to_a_broker_nobody_asked_before_is_asked_there_at_once(cluster: Cluster):
    """Whatever made the client look: here nothing of ours did, and the old leader still owes an answer."""

    async def story(fetching: Fetching, reading: Reading) -> float:
        for partition in LEADERS:
            fetching.read(partition, reading)
        await asyncio.sleep(1)
        cluster.behaves[1] = "frozen"
        await asyncio.sleep(1)
        moved = asyncio.get_running_loop().time()
        cluster.leaders[A] = 4
        cluster.told()
        await asyncio.sleep(0.2)
        return moved

    moved = fetched(cluster, story, leaders=LEADERS)
    assert cluster.asked_for(A, 4, since=moved - 0.001)


def test_leaders_are_looked_up_again_and_again_while_one_is_missing_and_then_it_is_asked(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
):
    """A look-up that fails, and a leader that is -1 for long. It is an error that is seen, once, and so is its end."""

    async def story(fetching: Fetching, reading: Reading) -> Any:
        cluster.failing_looks = 3
        for partition in LEADERS:
            fetching.read(partition, reading)
        await asyncio.sleep(5)
        before = cluster.asked_for(A, 1), fetching.unread.now, fetching.unread.total
        cluster.leaders[A] = 1
        await asyncio.sleep(1)
        return before, fetching.unread.now, fetching.unread.total

    assert fetched(cluster, story, leaders={**LEADERS, A: -1}) == ((False, 1, 1), 0, 1)
    assert cluster.asked_for(A, 1)
    assert cluster.asked_for(B, 2)
    (said,) = unread(caplog)
    assert "t-0: no leader is known" in said
    assert [record.getMessage() for record in caplog.records if "t-0 is read again, after" in record.getMessage()]


@pytest.mark.parametrize("state", ["gone", "frozen"])
def test_a_broker_that_leaves_is_asked_no_more_than_now_and_then_and_its_heir_at_once(cluster: Cluster, state: str):
    async def story(fetching: Fetching, reading: Reading) -> tuple[int, float]:
        for partition in LEADERS:
            fetching.read(partition, reading)
        await asyncio.sleep(1)
        cluster.behaves[1] = state
        before = len(cluster.asked)
        await asyncio.sleep(10)
        attempts = sum(broker == 1 for _, broker, _ in cluster.asked[before:])
        cluster.leaders[A] = 2
        moved = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        return attempts, moved

    attempts, moved = fetched(cluster, story, leaders=LEADERS)
    assert attempts < 100
    assert cluster.asked_for(A, 2, since=moved)
    assert cluster.asked_for(C, 3, since=moved)


def test_who_says_that_it_does_not_lead_is_asked_for_the_others_meanwhile(cluster: Cluster):
    """Metadata may be stale for a while: the broker is asked again for the one, and never left alone with the rest."""

    async def story(fetching: Fetching, reading: Reading) -> float:
        fetching.read(A, reading)
        fetching.read(B, reading)
        await asyncio.sleep(1)
        cluster.refuses[1, A] = NOT_LEADER
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(3)
        del cluster.refuses[1, A]
        await asyncio.sleep(1)
        return since

    since = fetched(cluster, story, leaders={A: 1, B: 1})
    alone = [at for at, _, wanted in cluster.asked if at > since and wanted == {B}]
    assert len(alone) > 10
    assert cluster.asked_for(A, 1, since=since + 3)


def test_a_partition_that_is_led_and_never_answered_for_is_named_with_what_the_broker_said(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
):
    async def story(fetching: Fetching, reading: Reading) -> None:
        cluster.refuses[1, A] = NOT_LEADER
        fetching.read(A, reading)
        fetching.read(B, reading)
        await asyncio.sleep(30)

    fetched(cluster, story, leaders={A: 1, B: 2})
    (said,) = unread(caplog)
    assert "t-0: broker 1 leads it: it is as it is (NotLeaderForPartitionError)" in said


def test_who_waits_until_partitions_are_read_waits_for_their_leaders_to_answer(cluster: Cluster):
    """An assignment is ready when each partition has been read once; one that is given away is waited for no longer."""

    async def story(fetching: Fetching, reading: Reading) -> list[bool]:
        for partition in LEADERS:
            fetching.read(partition, reading)
        waiting = asyncio.ensure_future(fetching.asked(LEADERS))
        await asyncio.sleep(1)
        seen = [waiting.done()]
        cluster.leaders[A] = 1
        await asyncio.sleep(1)
        seen.append(waiting.done())
        fetching.forget(B, reading)
        await asyncio.sleep(1)
        return [*seen, waiting.done()]

    assert fetched(cluster, story, leaders={A: -1, B: -1, C: 3}) == [False, False, True]


def test_a_partition_that_this_process_keeps_supplied_is_read(cluster: Cluster, caplog: pytest.LogCaptureFixture):
    """Its leader is not asked, because what comes next is handed over all the time."""

    async def story(fetching: Fetching, reading: Reading) -> None:
        batch: Any = None
        fetching.read(A, reading)
        for _ in range(200):
            fetching.offer(A, 5, batch)
            await asyncio.sleep(0.02)
        await asyncio.wait_for(fetching.asked([A]), 0.01)

    fetched(cluster, story, leaders={A: -1})
    assert unread(caplog) == []


def test_what_is_paused_is_nobodys_fault(cluster: Cluster, caplog: pytest.LogCaptureFixture):
    async def story(fetching: Fetching, reading: Reading) -> int:
        reading.paused.add(A)
        fetching.read(A, reading)
        await asyncio.sleep(10)
        return fetching.unread.total

    assert fetched(cluster, story, leaders=LEADERS) == 0
    assert unread(caplog) == []


def test_brokers_that_lead_nothing_more_are_left_in_peace(cluster: Cluster):
    async def story(fetching: Fetching, reading: Reading) -> list[int]:
        for partition in LEADERS:
            fetching.read(partition, reading)
        await asyncio.sleep(1)
        cluster.leaders = dict.fromkeys(LEADERS, 3)
        cluster.told()
        await asyncio.sleep(1)
        return sorted(fetching._loops)

    assert fetched(cluster, story, leaders=LEADERS) == [3]


def test_when_no_broker_answers_for_longer_than_the_patience_whoever_reads_is_told_even_if_nothing_is_wanted(cluster: Cluster):
    async def story(fetching: Fetching, reading: Reading) -> tuple[Any, Any]:
        reading.paused.add(A)
        fetching.read(A, reading)
        await asyncio.sleep(50)
        early = reading.failure
        cluster.behaves = dict.fromkeys((1, 2, 3), "everywhere")
        await asyncio.sleep(55)
        assert early is reading.failure is None
        await asyncio.sleep(10)
        return reading.failure, fetching.failed.exception()

    failure, failed = fetched(cluster, story, leaders=LEADERS)
    assert failure is failed
    with pytest.raises(RuntimeFailed, match=r"no broker of broker:1 has answered for 6\d s: nobody has answered"):
        raise failure


def test_what_no_repetition_mends_is_told_to_whoever_reads_that_partition(cluster: Cluster):
    async def story(fetching: Fetching, reading: Reading) -> Any:
        other = Reading()
        cluster.refuses[1, A] = AUTHORIZATION
        fetching.read(A, reading)
        fetching.read(B, other)
        await asyncio.sleep(1)
        return reading.failure, other.failure

    mine, others = fetched(cluster, story, leaders={A: 1, B: 1})
    assert isinstance(mine, kafka_errors.TopicAuthorizationFailedError)
    assert others is None


def orders() -> Iterable[Any]:
    """When leaders become known, when a reader comes, when a leader moves, when a broker goes: in every order of two."""
    return [(first, second) for first in ("led", "read", "moved", "gone") for second in ("led", "read", "moved", "gone")]


@pytest.mark.parametrize(("first", "second"), orders())
def test_in_whatever_order_things_happen_every_partition_is_asked_for_in_the_end(cluster: Cluster, first: str, second: str):
    async def story(fetching: Fetching, reading: Reading) -> float:
        async def happens(what: str) -> None:
            match what:
                case "led":
                    cluster.leaders[A] = 1
                case "read":
                    fetching.read(B, reading)
                case "moved":
                    cluster.leaders[C] = 7
                case "gone":
                    cluster.behaves[2] = "gone"
                    cluster.leaders[B] = 3

        fetching.read(A, reading)
        fetching.read(C, reading)
        for what in (first, second, "led", "read", "moved"):
            await happens(what)
            await asyncio.sleep(0.013)
        settled = asyncio.get_running_loop().time()
        await asyncio.sleep(2)
        return settled

    settled = fetched(cluster, story, leaders={**LEADERS, A: -1})
    assert all(cluster.asked_for(partition, broker, since=settled) for partition, broker in cluster.leaders.items())
