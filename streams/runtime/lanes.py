"""What waits to be sent, partition by partition, and the requests that carry it, broker by broker."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from aiokafka import TopicPartition

from streams.runtime.model import Outgoing


class Receipt(Protocol):
    """Told when its record is durable. Never told when the publisher fails: `Publisher.failed` says that."""

    def delivered(self, partition: int, offset: int) -> None: ...


class Lane:
    """What waits for one partition, in order: full batches first, then the open one."""

    __slots__ = ("_batches", "_producer", "target", "waiting")

    def __init__(self, producer: Any, target: TopicPartition) -> None:
        self._producer = producer
        self.target = target
        self.waiting = False
        self._batches: deque[tuple[Any, list[Receipt | None]]] = deque()

    def append(self, out: Outgoing, receipt: Receipt | None) -> None:
        headers = list(out.headers)  # aiokafka takes no tuple
        if self._batches:
            builder, receipts = self._batches[-1]
            if builder.append(key=out.key, value=out.value, timestamp=out.timestamp_ms, headers=headers) is not None:
                receipts.append(receipt)
                return
        builder = self._producer.create_batch()
        builder.append(key=out.key, value=out.value, timestamp=out.timestamp_ms, headers=headers)  # the first always fits
        self._batches.append((builder, [receipt]))

    def take(self) -> tuple[Any, list[Receipt | None]]:
        """The oldest batch, closed: appending to one whose sequence number is given would corrupt it."""
        builder, receipts = self._batches.popleft()
        builder.close()
        return builder, receipts

    def __bool__(self) -> bool:
        return bool(self._batches)


class Rounds:
    """The requests to one broker, one after the other; each carries one batch of every partition that has something."""

    def __init__(self, producer: Any, patience_s: float) -> None:
        self._producer = producer
        self._patience_s = patience_s
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
            lanes, self._lanes, self._sending = self._lanes, [], True
            async with asyncio.timeout(self._patience_s):
                await self._round(lanes)
            self._sending = False

    async def _round(self, lanes: list[Lane]) -> None:
        sent = []
        for lane in lanes:
            builder, receipts = lane.take()
            if lane:
                self._lanes.append(lane)
            else:
                lane.waiting = False
            topic, partition = lane.target
            future = await self._producer.send_batch(builder, topic, partition=partition)
            future.add_done_callback(_retrieve)
            sent.append((future, partition, receipts))
        for future, partition, receipts in sent:
            offset = (await future).offset
            for receipt in receipts:
                if receipt is not None:
                    receipt.delivered(partition, offset)
                offset += 1


def _retrieve(future: asyncio.Future[Any]) -> None:
    """A failed round is reported once; the others of its futures are not to be reported again as never retrieved."""
    if not future.cancelled():
        future.exception()
