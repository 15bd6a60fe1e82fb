"""Several brokers: who leads what, what each of them believes of it, and what becomes of requests to one that dies or freezes.

The logs are one truth, as acknowledged records are where replicas agree; what differs is who may serve them, and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from tests.simulation.world import Process, World

COORDINATIONS = 4
"""Partitions of each internal topic."""
AGAIN_S = 1.0
"""After a fault, until the brokers count as well again."""
WRITES = frozenset({"produce", "init_pid", "add_partitions", "add_offsets", "txn_offset_commit", "end_txn", "offset_commit"})
"""Kinds of requests that are answered when every replica that counts as in sync has them."""


def group_place(group: str) -> TopicPartition:
    """The partition whose leader coordinates a group."""
    return TopicPartition("__consumer_offsets", crc32(group.encode()) % COORDINATIONS)


def transaction_place(transactional_id: str) -> TopicPartition:
    """The partition whose leader coordinates the transactions of an id."""
    return TopicPartition("__transaction_state", crc32(transactional_id.encode()) % COORDINATIONS)


@dataclass(eq=False)
class Pending:
    """A request somebody waits for."""

    process: Process
    lose: Callable[[], None]
    """The connection has broken."""
    limit_s: float | None
    """How long its client waits for a broker that is frozen; None: the client sees to that itself."""
    done: bool = False


@dataclass(eq=False)
class Node:
    """One broker."""

    id: int
    alive: bool = True
    frozen: bool = False
    version: int = 0
    """Of the cluster's metadata: how much of it has reached this broker."""
    lives: int = 0
    """How often it has died, frozen or come back: a clock for what was planned before."""
    backlog: list[Callable[[], None]] = field(default_factory=list)
    """What happens when it thaws."""
    pending: list[Pending] = field(default_factory=list)
    connections: list[Callable[[], None]] = field(default_factory=list)
    """Break one each."""

    @property
    def up(self) -> bool:
        return self.alive and not self.frozen


class Brokers:
    """`count` of them, with a controller that moves leaders `detect_s` after one has gone silent and tells others with a lag."""

    def __init__(self, world: World, count: int, *, detect_s: float, lag_s: float) -> None:
        self.world = world
        self.detect_s, self.lag_s = detect_s, lag_s
        self.nodes = {number: Node(number) for number in range(1, count + 1)}
        self.version = 0
        self.changes = 0
        self.well_since = 0.0
        self._led: dict[TopicPartition, list[tuple[int, int]]] = {}
        """Place → (since which version, leader), oldest first."""
        self._fenced: dict[int, list[tuple[int, bool]]] = {number: [(0, False)] for number in self.nodes}
        self._unnoticed: set[int] = set()
        """Gone silent, and still counted as in sync."""
        self._held: list[Callable[[], None]] = []
        self._rotation = 0

    # who leads

    def leader(self, place: TopicPartition, version: int | None = None) -> int:
        """The leader as of a version of the metadata, the newest when none is given."""
        history = self._led.get(place)
        if history is None:
            first = crc32(f"{place.topic}-{place.partition}".encode()) % len(self.nodes) + 1
            history = self._led[place] = [(0, first if self._known(first) else self._heir(0))]
        for since, leader in reversed(history):
            if version is None or since <= version:
                return leader
        return history[0][1]

    def serves(self, node: Node, place: TopicPartition) -> bool:
        """Whether it leads the place and knows that."""
        return self.leader(place) == node.id and self.leader(place, node.version) == node.id

    def known_to(self, node: Node) -> list[int]:
        """The brokers it tells clients of."""
        return [number for number in self.nodes if not _at(self._fenced[number], node.version)]

    def _known(self, number: int) -> bool:
        return not self._fenced[number][-1][1]

    def _heir(self, at: int) -> int:
        able = [number for number in self.nodes if self._known(number) and self.nodes[number].up]
        return able[at % len(able)] if able else -1

    def asked(self) -> Node:
        """Some broker that answers: whom a client asks what any of them knows."""
        up = [node for node in self.nodes.values() if node.up]
        return up[int(self.world.random.random() * len(up))]

    # what happens to them

    @property
    def well(self) -> bool:
        """All are up and nobody is on the way back."""
        return all(node.up for node in self.nodes.values()) and not self._unnoticed and self.world.now >= self.well_since

    def kill(self, number: int, seconds: float) -> None:
        node = self.nodes[number]
        node.alive = False
        self._gone(node)
        for break_it in list(node.connections):
            break_it()
        node.connections.clear()
        for pending in node.pending:
            if not pending.done:
                pending.lose()
        node.pending.clear()
        self.world.at(seconds, self._start, node, node.lives)

    def freeze(self, number: int, seconds: float) -> None:
        node = self.nodes[number]
        node.frozen = True
        self._gone(node)
        for pending in node.pending:
            self._impatient(node, pending)
        self.world.at(seconds, self._thaw, node, node.lives)

    def move(self) -> None:
        """Every place gets another leader."""
        self._rotation += 1
        self.version += 1
        for place in list(self._led):
            before = self.leader(place)
            others = [number for number in self.nodes if number != before and self._known(number) and self.nodes[number].up]
            if others:
                self._led[place].append((self.version, others[(self._rotation + place.partition) % len(others)]))
        self._tell()

    def _gone(self, node: Node) -> None:
        node.lives += 1
        self._unnoticed.add(node.id)
        self.world.at(self.detect_s * (0.8 + 0.2 * self.world.random.random()), self._notice, node, node.lives)

    def _notice(self, node: Node, life: int) -> None:
        """The controller has missed its heartbeats: what it led is led by others."""
        if node.lives != life or node.id not in self._unnoticed:
            return
        self._unnoticed.discard(node.id)
        self.version += 1
        self._fenced[node.id].append((self.version, True))
        for pending in node.pending:
            if pending.limit_s is not None and not pending.done:
                self._lose_soon(pending)  # the patient client gives up a broker that the others have dropped
        for at, place in enumerate(self._led):
            if self.leader(place) == node.id:
                self._led[place].append((self.version, self._heir(at)))
        self.world.note("controller", f"gives away what broker {node.id} led")
        self._tell()
        self._release()

    def _start(self, node: Node, life: int) -> None:
        if node.lives != life:
            return
        self._notice(node, life)  # one that comes back sooner is noticed by its coming back
        node.lives += 1
        node.alive = True
        self.world.note(f"broker {node.id}", "is back")
        self._return(node)

    def _thaw(self, node: Node, life: int) -> None:
        if node.lives != life:
            return
        node.lives += 1
        node.frozen = False
        self.world.note(f"broker {node.id}", "wakes up")
        self._unnoticed.discard(node.id)
        backlog, node.backlog = node.backlog, []
        for happens in backlog:
            self.world.at(self.world.random.random() * 0.01, happens)
        if not self._known(node.id):
            self._return(node)
        self._release()
        self.well_since = self.world.now + AGAIN_S

    def _return(self, node: Node) -> None:
        self.well_since = self.world.now + self.lag_s + AGAIN_S

        def registered() -> None:
            if node.up and not self._known(node.id):
                self.version += 1
                self._fenced[node.id].append((self.version, False))
                self._tell()

        self.world.at(self.lag_s * self.world.random.random(), registered)

    def _tell(self) -> None:
        """What has changed reaches each broker in its own time."""
        self.changes += 1
        for node in self.nodes.values():
            self.world.at(self.lag_s * self.world.random.random(), self._learn, node, self.version)

    def _learn(self, node: Node, version: int) -> None:
        if not node.up:
            if node.frozen:
                node.backlog.append(lambda: self._learn(node, version))
            else:
                self.world.at(0.1, self._learn, node, version)
            return
        node.version = max(node.version, version)

    def _release(self) -> None:
        if not self._unnoticed:
            held, self._held = self._held, []
            for happens in held:
                happens()

    # requests

    def receive(self, node: Node, kind: str, pending: Pending, run: Callable[[], None]) -> None:
        """A request has arrived at a broker: `run` it now, later, or never."""
        if not node.alive:
            pending.lose()
            return
        if len(node.pending) > 500:
            node.pending = [each for each in node.pending if not each.done]
        if pending not in node.pending[-3:]:
            node.pending.append(pending)
        again = lambda: self.receive(node, kind, pending, run)  # noqa: E731
        if node.frozen:
            node.backlog.append(again)
            self._impatient(node, pending)
        elif kind in WRITES and self._unnoticed:
            self._held.append(again)
        else:
            run()

    def answer(self, node: Node, pending: Pending, deliver: Callable[[], None]) -> None:
        """A broker says something: at once, when it thaws, or never."""
        if node.frozen:
            node.backlog.append(lambda: self.answer(node, pending, deliver))
        elif node.alive and not pending.done:
            pending.done = True
            deliver()

    def _impatient(self, node: Node, pending: Pending) -> None:
        if pending.limit_s is None or pending.done:
            return
        life = node.lives

        def give_up() -> None:
            if node.frozen and node.lives == life:
                self._lose_soon(pending)

        self.world.at(pending.limit_s, give_up)

    def _lose_soon(self, pending: Pending) -> None:
        if not pending.done:
            pending.done = True
            self.world.at(self.world.random.random(), pending.lose)

    def refusal(self, place: TopicPartition) -> type[Exception]:
        """What a broker answers that does not lead a place."""
        if place.topic.startswith("__"):
            return kafka_errors.NotCoordinatorForGroupError
        return kafka_errors.NotLeaderForPartitionError

    def led(self, topics: Iterable[tuple[str, int]], node: Node) -> list[tuple[int, str, bool, list[Any]]]:
        """Topics with their partitions' leaders as a Metadata response has them; a leader that is fenced there is none."""
        known = set(self.known_to(node))
        described = []
        for name, count in topics:
            parts = []
            for number in range(count):
                leader = self.leader(TopicPartition(name, number), node.version)
                led = leader in known
                parts.append((0 if led else 5, number, leader if led else -1, [], []))
            described.append((0, name, False, parts) if count else (3, name, False, []))
        return described


def _at(history: list[tuple[int, bool]], version: int) -> bool:
    for since, value in reversed(history):
        if since <= version:
            return value
    return history[0][1]


def resolve(future: asyncio.Future[Any], value: Any) -> None:
    """Give a future its answer: a value, an error, or a kind of error."""
    if future.done():
        return
    if isinstance(value, BaseException):
        future.set_exception(value)
    elif isinstance(value, type) and issubclass(value, BaseException):
        future.set_exception(value())
    else:
        future.set_result(value)
