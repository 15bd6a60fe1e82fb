"""What a handler holds while it handles one record, and what `opened` gets to see of a partition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Generic, Protocol

from streams.runtime.effects import EffectsLog, Entry
from streams.runtime.model import Fenced, Outgoing, S
from streams.runtime.publisher import Publisher


class Owner(Protocol[S]):
    """What a step needs of the partition it belongs to."""

    log: EffectsLog[S]
    publisher: Publisher
    stateful: bool
    topic: str
    partition: int

    @property
    def lost(self) -> Fenced | None: ...
    @property
    def is_open(self) -> bool: ...
    def settle(self, entry: Entry[S]) -> None: ...
    def gone_ahead(self) -> None: ...
    async def act(self) -> None: ...
    def acted(self) -> None: ...
    def commit_soon(self) -> None: ...


class StepOfRecord(Generic[S]):
    """model.Step. Also the receipt of what it published: the record settles when the handler and all outputs are through."""

    __slots__ = ("_acting", "_ahead", "_entry", "_outs", "_owner", "_puts", "_telling", "_untold", "partition")

    def __init__(self, owner: Owner[S], entry: Entry[S]) -> None:
        self.partition = owner.partition
        self._owner = owner
        self._entry = entry
        self._acting = 0
        self._ahead = False
        self._puts: dict[str, tuple[S | None, bytes | None]] = {}
        self._outs: list[Outgoing] = []
        self._untold = 0
        """Told and not durable."""
        self._telling: asyncio.Future[None] | None = None

    @property
    def waited(self) -> bool:
        return self._entry.waited

    def get(self, key: str) -> S | None:
        if key in self._puts:
            return self._puts[key][0]
        return self._owner.log.get(key)

    def put(self, key: str, state: S | None) -> None:
        self._need_state()
        self._puts[key] = state, self._owner.log.store.encode(key, state)

    def publish(self, out: Outgoing) -> None:
        self._owner.publisher.check(out)
        self._outs.append(out)

    def tell(self, out: Outgoing) -> None:
        publisher = self._owner.publisher
        publisher.check(out)
        self._entry.waiting += 1
        self._untold += 1
        publisher.publish(out, _Told(self))

    async def told(self) -> None:
        if self._untold:
            self._telling = asyncio.get_running_loop().create_future()
            await self._telling

    def ahead(self) -> None:
        self._ahead = True

    async def journal(self, key: str, state: S | None, *, spare: int = 0) -> None:
        self._need_state()
        if self._owner.lost is not None:
            raise Fenced(str(self._owner.lost))
        journal = self._owner.log.journal(key, state, self._owner.log.store.encode(key, state, spare=spare))
        self._puts.pop(key, None)
        self._owner.commit_soon()
        await journal.durable
        self._send()

    async def act(self) -> None:
        await self._owner.act()
        self._acting += 1

    def acted(self) -> None:
        if self._acting:
            self._acting -= 1
            self._owner.acted()

    def release(self) -> None:
        """The handler has ended, and with it whatever it did."""
        while self._acting:
            self.acted()

    def finish(self) -> None:
        """The handler has returned: its puts and outputs take effect."""
        if self._puts:
            self._owner.log.apply(self._entry, self._puts, ahead=self._ahead)
            if self._ahead:
                self._owner.gone_ahead()
        self._send()
        self.delivered(0, 0)

    def delivered(self, partition: int, offset: int) -> None:
        """publisher.Receipt: one part of the record is through."""
        self._entry.waiting -= 1
        if not self._entry.waiting:
            self._owner.settle(self._entry)

    def heard(self, partition: int, offset: int) -> None:
        """Something told is durable."""
        self._untold -= 1
        if not self._untold and self._telling is not None and not self._telling.done():
            self._telling.set_result(None)
        self.delivered(partition, offset)

    def _send(self) -> None:
        outs = self._outs
        if outs:
            self._outs = []
            self._entry.waiting += len(outs)
            publish = self._owner.publisher.publish
            for out in outs:
                publish(out, self)

    def _need_state(self) -> None:
        if not self._owner.stateful:
            raise TypeError(
                f"the processor of {self._owner.topic} has no changelog and keeps no state: give it one in its settings"
            )


class _Told:
    """The receipt of what a step told."""

    __slots__ = ("_step",)

    def __init__(self, step: StepOfRecord[Any]) -> None:
        self._step = step

    def delivered(self, partition: int, offset: int) -> None:
        self._step.heard(partition, offset)


class ViewOfPartition(Generic[S]):
    """model.PartitionView."""

    def __init__(self, owner: Owner[S]) -> None:
        self.topic = owner.topic
        self.partition = owner.partition
        self._owner = owner

    def get(self, key: str) -> S | None:
        return self._owner.log.get(key)

    def items(self) -> Iterable[tuple[str, S]]:
        return self._owner.log.items()

    def publish(self, out: Outgoing) -> None:
        self._owner.publisher.check(out)
        if self._owner.is_open:
            self._owner.publisher.publish(out)
