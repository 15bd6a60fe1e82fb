"""The broker as its clients reach it: topics, logs, coordinators, and the network between, which may lose or delay anything."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime import patience
from tests.simulation.broker.cluster import Brokers, Node, Pending, resolve
from tests.simulation.broker.groups import Groups
from tests.simulation.broker.log import Entry, PartitionLog, Sent
from tests.simulation.broker.transactions import Transactions
from tests.simulation.world import EPOCH_MS, Process, World

Answer = Callable[[Any], None]


class Lost(Exception):
    """The connection broke: nobody knows whether the request arrived."""


@dataclass(slots=True)
class Network:
    """What happens to requests on their way. A schedule replaces `meddle`."""

    latency_s: float = 0.0008
    meddle: Callable[[Process, str, bool], str | None] | None = None
    """(process, kind of request, answered) → None, or what to do: lose | refuse | slow."""


@dataclass
class Topic:
    logs: list[PartitionLog]
    compacted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """What keeps a member in its group."""

    group: str
    member: str
    session_timeout_ms: int
    heartbeat_ms: int
    told: Callable[[type[Exception]], None]


class Broker:
    def __init__(self, world: World) -> None:
        self.world = world
        world.broker = self
        self._random = world.random.random
        self.network = Network()
        self.topics: dict[str, Topic] = {}
        self.appended: Callable[[TopicPartition, Entry], None] | None = None
        self.committed: Callable[[str, TopicPartition, int], None] | None = None
        self.transaction_ended: Callable[[str], None] | None = None
        self.transactions = Transactions(
            self.log,
            self._end_offsets,
            self._soon,
            lambda ms, then: world.at(ms / 1000, then),
            self.now_ms,
            lambda name: self.transaction_ended(name) if self.transaction_ended is not None else None,
        )
        self.groups = Groups(
            lambda name: len(self.topics[name].logs),
            lambda ms, then: world.at(ms / 1000, then),
            world.random,
            lambda group, tp, offset: self.committed(group, tp, offset) if self.committed is not None else None,
        )
        self._sessions: dict[Process, list[Session]] = {}
        self.brokers: Brokers | None = None
        """Those of a cluster; None: one broker that is always there."""
        self.asked: dict[tuple[Process, TopicPartition], tuple[int, float]] = {}
        """Who asks which broker for a partition: until when, which is for ever while the answer is owed."""

    def now_ms(self) -> int:
        return EPOCH_MS + int(self.world.now * 1000)

    def create(self, name: str, partitions: int, *, compacted: bool = False) -> None:
        logs = [PartitionLog(TopicPartition(name, number), self._tell) for number in range(partitions)]
        self.topics[name] = Topic(logs, compacted)

    def log(self, tp: TopicPartition) -> PartitionLog:
        topic = self.topics.get(tp.topic)
        if topic is None or tp.partition >= len(topic.logs):
            raise kafka_errors.UnknownTopicOrPartitionError
        found: PartitionLog = topic.logs[tp.partition]
        return found

    def _tell(self, tp: TopicPartition, entry: Entry) -> None:
        if self.appended is not None:
            self.appended(tp, entry)

    def _soon(self, then: Callable[[], None]) -> None:
        self.world.at(self._latency(), then)

    def _end_offsets(self, group: str, pid: int, commit: bool) -> None:
        self.groups.end_transaction(group, pid, commit)

    # requests

    def ask(
        self, process: Process, kind: str, request: Callable[[Answer], None], place: TopicPartition | None = None
    ) -> asyncio.Future[Any]:
        """Send a request; the future gets the answer, an exception the broker answered with, or Lost. May never be answered.

        `place`: whose leader it is for; None: any broker can answer.
        """
        future: asyncio.Future[Any] = process.create_future()
        meddle = self.network.meddle
        fate = meddle(process, kind, False) if meddle is not None else None
        if self.brokers is not None:
            request = self._to_one(self.brokers, process, kind, request, future, place)
        if fate is None:
            self.world.at(self._latency(), self._arrive, process, kind, request, future, False)
        elif fate == "lose":
            self._lose(process, future)
        else:
            self.world.at(
                self._latency() * (300 if fate == "slow" else 1),
                self._arrive,
                process,
                kind,
                request,
                future,
                fate == "refuse",
            )
        return future

    def _to_one(
        self,
        brokers: Brokers,
        process: Process,
        kind: str,
        request: Callable[[Answer], None],
        future: asyncio.Future[Any],
        place: TopicPartition | None,
    ) -> Callable[[Answer], None]:
        """The same request, addressed to the broker that its client takes for the right one."""
        asked = brokers.asked()
        node: Node | None = asked if place is None else brokers.nodes.get(brokers.leader(place, asked.version))
        pending = Pending(process, lambda: self._lose(process, future), patience.REQUEST_S)

        def arrive(answer: Answer) -> None:
            def run() -> None:
                if place is not None and not brokers.serves(node, place):
                    say(brokers.refusal(place))
                    return
                try:
                    request(say)
                except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
                    say(error)

            def say(value: Any) -> None:
                brokers.answer(node, pending, lambda: answer(value))

            if node is None:
                answer(Lost())  # it leads to nowhere at the moment
            else:
                brokers.receive(node, kind, pending, run)

        return arrive

    def _arrive(
        self, process: Process, kind: str, request: Callable[[Answer], None], future: asyncio.Future[Any], refuse: bool
    ) -> None:
        if not process.alive and self.world.random.random() < 0.5:
            return  # it was still in the buffers of the machine that died

        def answer(value: Any) -> None:
            meddle = self.network.meddle
            fate = meddle(process, kind, True) if meddle is not None else None
            if fate == "lose":
                self._lose(process, future)
            else:
                delay = self._latency() * (300 if fate == "slow" else 1)
                self.world.deliver(delay, process, resolve, future, value)

        if refuse:
            answer(kafka_errors.TopicAuthorizationFailedError)
            return
        try:
            request(answer)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
            answer(error)

    def _lose(self, process: Process, future: asyncio.Future[Any]) -> None:
        self.world.deliver(0.01 + self._latency(), process, resolve, future, Lost())

    # for connections to one of several brokers

    def fate(self, process: Process, kind: str, *, answered: bool) -> str | None:
        """What is to become of a request or its answer; None: nothing out of the ordinary."""
        return self.network.meddle(process, kind, answered) if self.network.meddle is not None else None

    def soon(self, then: Callable[[], None], *, slow: bool = False) -> None:
        """Something arrives at a broker."""
        self.world.at(self._latency() * (300 if slow else 1), then)

    def later(self, process: Process, then: Callable[[], None], *, slow: bool = False) -> None:
        """Something arrives at a process."""
        self.world.deliver(self._latency() * (300 if slow else 1), process, then)

    def deliver(self, process: Process, future: asyncio.Future[Any], value: Any) -> None:
        self.world.deliver(self._latency(), process, resolve, future, value)

    def asked_for(self, process: Process, node: int, partitions: Iterable[TopicPartition], *, pending: bool) -> None:
        """A process asks a broker for what is in these partitions, or has its answer."""
        for partition in partitions:
            self.asked[process, partition] = (node, math.inf if pending else self.world.now)

    def _latency(self) -> float:
        chance = self._random()
        return self.network.latency_s * (0.2 + 1.6 * chance if chance < 0.95 else 12 * chance)

    # what the requests do

    def produce(
        self, transactional_id: str | None, pid: int, epoch: int, batches: Sequence[tuple[TopicPartition, int, Sequence[Sent]]]
    ) -> dict[TopicPartition, int | Exception]:
        """One produce request: per partition the offset, or the error."""
        answers: dict[TopicPartition, int | Exception] = {}
        for tp, sequence, records in batches:
            try:
                log = self.log(tp)
                if transactional_id is not None:
                    self.transactions.verify(transactional_id, pid, epoch, tp=tp)
                answers[tp] = log.produce(pid, epoch, sequence, records, transactional=transactional_id is not None)
            except kafka_errors.KafkaError as error:
                answers[tp] = error
        return answers

    def commit_offset_in_transaction(
        self, transactional_id: str, pid: int, epoch: int, group: str, offsets: dict[TopicPartition, int]
    ) -> None:
        self.transactions.verify(transactional_id, pid, epoch, group=group)
        self.groups.commit_in_transaction(group, pid, offsets)

    def fetch(self, tp: TopicPartition, offset: int, *, committed: bool, limit: int, answer: Answer) -> None:
        """Answers (records, where to go on, high watermark) as soon as there is something past the offset."""
        log = self.log(tp)

        def attempt() -> None:
            try:
                entries, following = log.read(offset, limit, committed=committed)
            except kafka_errors.KafkaError as error:
                answer(error)
                return
            if following > offset:
                answer((entries, following, log.end))
            else:
                log.waiting.append(attempt)

        attempt()

    # sessions

    def register(self, process: Process, session: Session) -> None:
        """A member is alive as long as its process is."""
        known = self._sessions.get(process)
        if known is None:
            known = self._sessions[process] = []
            process.deaths.append(lambda: self.silent(process))
        if all(each.member != session.member for each in known):
            known.append(session)
            if process.frozen or not process.alive:
                self.world.at(session.session_timeout_ms / 1000, self._expire, process, process.silences, session)

    def forget(self, process: Process, member: str) -> None:
        self._sessions[process] = [session for session in self._sessions.get(process, ()) if session.member != member]

    def silent(self, process: Process) -> None:
        """The process sends nothing any more, for now or for good."""
        process.silences += 1
        for session in self._sessions.get(process, ()):
            last = self.world.random.random() * session.heartbeat_ms
            self.world.at((session.session_timeout_ms - last) / 1000, self._expire, process, process.silences, session)

    def heard(self, process: Process) -> None:
        """The process is back from its silence; its heartbeats are overdue and go out at once."""
        for session in self._sessions.get(process, ()):
            self.world.at(self._latency() + self.world.random.random() * 0.1, self._overdue, session)

    def _expire(self, process: Process, silence: int, session: Session) -> None:
        if process.silences == silence and (process.frozen or not process.alive):
            self.groups.expire(session.group, session.member)

    def _overdue(self, session: Session) -> None:
        if session.member not in self.groups.group(session.group).members:
            session.told(kafka_errors.UnknownMemberIdError)
