"""The oracle with clients that are not ours in any part: librdkafka writes and reads as it is shipped."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from tests.chaos.oracle import Oracle, Sent

STALL_S = 1.0
"""A message that waits longer than this for the broker's acknowledgement shows that its partition cannot be written."""
PAUSE_S = 0.01
EVENTS = "conversation.events"
"""Where a message that was read is admitted, under its conversation's id."""
PATIENCE_MS = 300_000
"""How long librdkafka itself tries to deliver a message: longer than any fault lasts. All else is its default."""


@dataclass(frozen=True)
class Flow:
    """What one fault did to the flow of messages and answers, in seconds."""

    messages: int
    silence_s: float
    """The longest stretch without any answer."""
    stock_s: float
    """The longest wait of a message for its acknowledgement."""
    again_s: float
    """From the moment when every partition could be written again until every partition answered what was written since."""
    clear_s: float
    """From the fault to the last answer that took longer than 3 s from its message's acknowledgement; 0: there was none."""
    latest_s: float
    """The longest time from the acknowledgement of a message to its answer."""


class Stock(Oracle):
    """Messages are due at a steady rate whatever the brokers do: the client keeps what cannot be written yet."""

    async def send(self) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": PATIENCE_MS,
                "linger.ms": 0,
                "log_level": 0,  # a broker that is away is the point
            }
        )
        try:
            due = time.monotonic()
            while self._sending:
                while self._burst or due <= time.monotonic():
                    self._burst, due = (self._burst - 1, due) if self._burst else (0, due + 1 / self.rate)
                    self._produce(producer)
                producer.poll(0)
                await asyncio.sleep(PAUSE_S)
            while len(producer):
                producer.poll(0)
                await asyncio.sleep(PAUSE_S)
        finally:
            self._all_sent.set()

    def _produce(self, producer: Producer) -> None:
        message = self._message(self._number)
        self._number += 1
        message.sent = time.monotonic()

        def delivered(error: Any, _: Any) -> None:
            if error is None:
                message.at = time.monotonic()
            else:
                self.dead.append(f"librdkafka gave up a message: {error}")

        body = json.dumps(message.body).encode()
        producer.produce("customer.messages", body, partition=message.partition, on_delivery=delivered)

    def burst(self, each: int = 2) -> list[str]:
        """Send now, without a pause, so many messages for each partition; the keys of those."""
        many = each * self.partitions
        keys = [self._message(number).key for number in range(self._number, self._number + many)]
        self._burst = many
        return keys

    async def read(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"oracle-{self._mark}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        topics = ("customer.responses", "dead-letters", EVENTS)
        consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for topic in topics for n in range(self.partitions)])
        try:
            while True:
                for record in await asyncio.to_thread(consumer.consume, 500, 0.05):
                    if record.error() is not None:
                        continue
                    if record.topic() == EVENTS:
                        self._admitted(record.key())
                    else:
                        self._take(record.topic(), record.partition(), record.offset(), record.value())
        finally:
            await asyncio.to_thread(consumer.close)

    def _admitted(self, key: bytes | None) -> None:
        message = self.sent.get((key or b"").decode(errors="replace"))
        if message is not None and message.admitted is None:
            message.admitted = time.monotonic()

    async def caught_up(self, patience_s: float) -> bool:
        """Wait until everything that was sent before this call is answered. False: patience ran out."""
        now = time.monotonic()
        before = [message for message in self.sent.values() if message.sent]
        while any(message.answered is None for message in before):
            if time.monotonic() > now + patience_s:
                return False
            await asyncio.sleep(0.05)
        return True

    def first_read(self) -> dict[int, float | None]:
        """Partition → seconds from its first message's acknowledgement until it was admitted; None: nothing ever was."""
        firsts: dict[int, float | None] = {}
        for partition in range(self.partitions):
            mine = [message for message in self.sent.values() if message.partition == partition and message.at]
            read = [message.admitted for message in mine if message.admitted is not None]
            firsts[partition] = max(0.0, min(read) - min(message.at for message in mine)) if read else None
        return firsts

    def flow(self, began: float, ended: float) -> Flow:
        """What happened between two moments, the first one that of a fault."""
        sent = [message for message in self.sent.values() if began - STALL_S <= message.sent <= ended]
        answers = sorted(m.answered for m in self.sent.values() if m.answered is not None and began <= m.answered <= ended)
        gaps = [after - before for before, after in zip([began, *answers], [*answers, ended], strict=True)]
        written = [message for message in sent if message.at]
        late = [m.answered for m in written if m.answered is not None and m.answered - m.at > 3]
        return Flow(
            messages=len(sent),
            silence_s=max(gaps),
            stock_s=max((message.at - message.sent for message in written), default=0.0),
            again_s=_again(began, ended, written, range(self.partitions)),
            clear_s=max(late, default=began) - began,
            latest_s=max(((m.answered or ended) - m.at for m in written), default=0.0),
        )


def _again(began: float, ended: float, written: list[Sent], partitions: Iterable[int]) -> float:
    """From the acknowledgement that ended the last partition's longest stall to the first answers of all since then."""
    writable = began
    for partition in partitions:
        mine = [message for message in written if message.partition == partition]
        worst = max(mine, key=lambda message: message.at - message.sent, default=None)
        if worst is not None and worst.at - worst.sent > STALL_S:
            writable = max(writable, worst.at)
    since = dict.fromkeys(partitions, ended)
    for message in written:
        if message.at >= writable and message.answered is not None:
            since[message.partition] = min(since[message.partition], message.answered)
    return max(since.values()) - writable
