"""What waits to be sent, partition by partition, and the requests that carry it, broker by broker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from aiokafka import TopicPartition

from streams.runtime.broker.producer import Batch, BatchProducer
from streams.runtime.model import Outgoing, RuntimeFailed


class Receipt(Protocol):
    """Told when its record is durable. Never told when the publisher fails: `Publisher.failed` says that."""

    def delivered(self, partition: int, offset: int) -> None: ...


class Lane:
    """What waits for one partition, in order: full batches first, then the open one."""

    __slots__ = ("_batches", "_open", "_producer", "_receipts", "late", "target", "waiting")

    def __init__(self, producer: BatchProducer, target: TopicPartition) -> None:
        self._producer = producer
        self.target = target
        self.waiting = False
        """It is on the list of a broker's next request, or on its way: a batch follows when the one before is durable."""
        self.late = 0
        """Records that are not durable, and that nobody here works on yet."""
        self._batches: deque[tuple[Batch, list[Receipt | None]]] = deque()
        self._open: Batch | None = None
        self._receipts: list[Receipt | None] = []

    def append(self, out: Outgoing, receipt: Receipt | None, *, begun: bool = False) -> None:
        if self._open is None or not self._open.append(out):
            self._open, self._receipts = self._producer.batch(), []
            self._open.append(out)
            self._batches.append((self._open, self._receipts))
        self._receipts.append(receipt)
        if not begun:
            self.late += 1
            self._open.late += 1

    def take(self) -> tuple[Batch, list[Receipt | None]]:
        """The oldest batch, to which nothing is added any more."""
        taken = self._batches.popleft()
        if not self._batches:
            self._open = None
        return taken

    def __bool__(self) -> bool:
        return bool(self._batches)


class Rounds:
    """The requests to one broker, one after the other; each carries one batch of every partition that has something."""

    def __init__(
        self,
        producer: BatchProducer,
        leader: int,
        patience_s: float,
        again: Callable[[Lane], None],
        written: Callable[[TopicPartition, int, Batch], None] | None = None,
    ) -> None:
        """`again` is given a lane that has more to send, `written` each batch that is durable, with its first offset."""
        self._producer = producer
        self._leader = leader
        self._patience_s = patience_s
        self._again = again
        self._written = written
        self._lanes: list[Lane] = []
        self._work = asyncio.Event()
        self._sending = False

    @property
    def busy(self) -> bool:
        return self._sending or bool(self._lanes)

    def add(self, lane: Lane) -> None:
        self._lanes.append(lane)
        self._work.set()

    async def run(self) -> None:
        while True:
            if not self._lanes:
                self._work.clear()
                await self._work.wait()
                await asyncio.sleep(0)  # what begins with the same news may have something to send as well
            lanes, self._lanes, self._sending = self._lanes, [], True
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._round(lanes)
            except TimeoutError as error:
                names = ", ".join(sorted({f"{lane.target.topic}-{lane.target.partition}" for lane in lanes}))
                why = self._producer.trouble(lane.target for lane in lanes)
                raise RuntimeFailed(
                    f"records for {names} have not been accepted for {self._patience_s:g} s: {why}. They come again"
                ) from error
            self._sending = False

    async def _round(self, lanes: list[Lane]) -> None:
        taken = [lane.take() for lane in lanes]
        batches = [(lane.target, batch) for lane, (batch, _) in zip(lanes, taken, strict=True)]
        offsets = await self._producer.send(self._leader, batches)
        for lane, (batch, receipts), offset in zip(lanes, taken, offsets, strict=True):
            if self._written is not None:
                self._written(lane.target, offset, batch)
            lane.late -= batch.late
            if lane:
                self._again(lane)
            else:
                lane.waiting = False
            partition = lane.target.partition
            for at, receipt in enumerate(receipts, offset):
                if receipt is not None:
                    receipt.delivered(partition, at)
