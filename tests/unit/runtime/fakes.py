"""A partition's surroundings without a broker: they note what happens in which order, and deliver when told to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
from aiokafka import TopicPartition

from streams.runtime import Outgoing, Record, RuntimeSettings
from streams.runtime.commits import NOBODY_KNOWS, WritesRefused
from streams.runtime.noted import KEY as NOTE
from streams.runtime.noted import Identity, Noted
from streams.runtime.partition import PartitionOwner
from streams.runtime.store import StateStore
from streams.runtime.surroundings import Surroundings

SOURCE = TopicPartition("in", 0)


class TextCodec:
    def encode(self, state: str) -> bytes:
        return state.encode()

    def decode(self, data: bytes) -> str:
        return data.decode()


def measured(states: Mapping[str, str | None]) -> dict[str, tuple[str | None, bytes | None]]:
    """As a step hands over what was put: each with what is to be written."""
    return {key: (state, None if state is None else state.encode()) for key, state in states.items()}


@dataclass
class FakeBroker:
    """Source, publisher, commits and changelog of one partition."""

    happened: list[str] = field(default_factory=list)
    sent: list[tuple[Outgoing, Any]] = field(default_factory=list)
    committed_position: int | None = None
    commits: list[tuple[int | None, dict[bytes, bytes | None]]] = field(default_factory=list)
    changelog: dict[bytes, bytes] = field(default_factory=dict)
    refuse: Exception | None = None
    topic_bytes: int = 1_000_000
    """What the changelog takes."""
    failures: list[BaseException] = field(default_factory=list)
    paused: bool = True

    # publisher
    def check(self, out: Outgoing) -> None: ...

    def publish(self, out: Outgoing, receipt: Any = None) -> None:
        self.sent.append((out, receipt))

    async def send(self, outs: Iterable[Outgoing]) -> None:
        self.sent += [(out, None) for out in outs]

    def deliver(self) -> None:
        """Everything sent is durable."""
        sent, self.sent = self.sent, []
        for _, receipt in sent:
            if receipt is not None:
                receipt.delivered(0, 0)

    # source
    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.happened.append(f"seek {offset}")

    def early(self, partition: TopicPartition, begin: Any) -> None:
        self.happened.append("no early records" if begin is None else "early records")

    def pause(self, partition: TopicPartition) -> None:
        self.paused = True

    def resume(self, partition: TopicPartition) -> None:
        self.happened.append("resume")
        self.paused = False

    def handled(self, partition: TopicPartition, position: int) -> None: ...

    def lighter(self, partition: TopicPartition, offset: int, size: int) -> None:
        self.happened.append(f"{offset} is through with {size} bytes")

    def end(self, partition: TopicPartition) -> int | None:
        return None

    async def committed(self, partition: TopicPartition) -> int | None:
        self.happened.append("read committed position")
        return self.committed_position

    async def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, 1_000_000))

    # commits
    identity: Identity = NOBODY_KNOWS
    noted: Noted | None = None

    async def remembered(self, committed: int | None) -> Noted | None:
        return None

    def note(self, position: int) -> Noted | None:
        return Noted(position, *self.identity)

    async def open(self) -> None:
        self.happened.append("fence")

    async def commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        if self.refuse is not None:
            raise self.refuse
        noted = [Noted(*msgspec.msgpack.decode(value or b"")) for key, value in writes if key == NOTE]
        if noted:
            self.noted = noted[-1]
            return None
        unfit = {key: f"{len(value)} bytes" for key, value in writes if value is not None and len(value) > self.topic_bytes}
        if unfit:
            raise WritesRefused(unfit)
        self.commits.append((position, dict(writes)))
        return None

    async def close(self) -> None:
        self.happened.append("close")

    # changelog
    async def restore(self, store: StateStore[Any]) -> int:
        self.happened.append("restore")
        for key, value in self.changelog.items():
            store.load(key, value)
        return len(self.changelog)


def owner_of(broker: FakeBroker, processor: Any, *, stateful: bool = True, **settings: Any) -> PartitionOwner[str]:
    chosen = RuntimeSettings("nowhere:0", "group", ("in",), {"in": "state"} if stateful else {}, **settings)
    around: Surroundings[str] = Surroundings(
        chosen,
        processor,
        broker,  # type: ignore[arg-type]  # as much of a publisher as a partition uses
        dead_letter,
        broker,
        opened=lambda owner: broker.happened.append("open"),
        lost=lambda owner, error: broker.happened.append("lost"),
        failed=broker.failures.append,
    )
    return PartitionOwner(
        SOURCE, around, broker, StateStore(TextCodec(), most=chosen.max_state_bytes), broker.restore if stateful else None
    )


def dead_letter(record: Record, processor: str, code: str, reason: str, attempts: int) -> Outgoing:
    return Outgoing("dead", b"k", f"{code}: {reason}".encode())


def raw(offset: int, value: str = "v", key: str | None = "k") -> Any:
    """A record as aiokafka hands it over."""
    return SimpleNamespace(
        topic="in",
        partition=0,
        offset=offset,
        timestamp=0,
        key=None if key is None else key.encode(),
        value=value.encode(),
        headers=(),
    )
