"""What must be true whatever broke, counted by a client that knows nothing of our code: plain Kafka and plain HTTP."""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from tests.chaos.fleet import PARTITIONS

LATE_S = 3.0
"""How long after the last answer a second one to the same message is still looked for."""
COMPLAINT = "This is terrible, order #10{:02d}, reference {}, came broken and nobody answers me."
TEXTS = (
    COMPLAINT,
    COMPLAINT,
    "Where is my order #10{:02d}? My reference is {}.",
    "What are your opening hours? It is about order 10{:02d}, reference {}.",
)


@dataclass
class Sent:
    """One message, and what came back."""

    key: str
    complaint: bool
    partition: int
    body: dict[str, str]
    sent: float = 0.0
    """When it was handed to the client, on the monotonic clock."""
    at: float = 0.0
    """When the broker had it."""
    admitted: float | None = None
    """When it was seen on conversation.events, by an oracle that looks there."""
    answered: float | None = None
    ids: Counter[str] = field(default_factory=Counter)
    status: str = ""
    error: str | None = None
    acted: bool = False
    """The response's trace says that the complaint was posted."""


@dataclass
class Verdict:
    messages: int = 0
    lost: int = 0
    doubled: int = 0
    """Messages with two different responses."""
    repeats: int = 0
    """Records beyond the first with the same id, which a subscriber drops."""
    actions: int = 0
    actions_doubled: int = 0
    actions_missing: int = 0
    """Said to be done by a response, and never seen at the shop."""
    handed_over: int = 0
    """Nobody could know whether an action had been carried out: a person looks."""
    failed: int = 0
    dead_letters: int = 0

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.actions_doubled or self.actions_missing or self.dead_letters)


class Oracle:
    """Sends messages at a rate and keeps book. Survives a broker that goes away."""

    def __init__(self, bootstrap: str, shop_url: str, rate: float, partitions: int = PARTITIONS) -> None:
        self.bootstrap, self.shop_url, self.rate, self.partitions = bootstrap, shop_url, rate, partitions
        self.sent: dict[str, Sent] = {}
        self._sending = True
        self._all_sent = asyncio.Event()
        self.dead: list[str] = []
        self._mark = uuid.uuid4().hex[:6]
        self._seen: set[tuple[str, int, int]] = set()
        self._random = random.Random(4)
        self._number = 0
        self._keys: dict[int, str] = {}
        self._hurry = asyncio.Event()
        self._burst = 0
        """Messages that are to be sent without a pause."""

    async def send(self) -> None:
        """Until `finish`. A message counts once the broker has acknowledged it."""
        try:
            await self._send_at_rate()
        finally:
            self._all_sent.set()

    async def _send_at_rate(self) -> None:
        began, due = time.monotonic(), 0.0
        while self._sending:
            producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True, request_timeout_ms=8000)
            try:
                await producer.start()
                while self._sending:
                    message = self._message(self._number)
                    # A message whose acknowledgement got lost is sent again under its id: that is what the id is for.
                    body = json.dumps(message.body).encode()
                    message.sent = message.sent or time.monotonic()
                    await producer.send_and_wait("customer.messages", body, partition=message.partition)
                    message.at = time.monotonic()
                    self._number += 1
                    if self._burst:
                        self._burst -= 1
                        continue
                    due += 1 / self.rate
                    behind = time.monotonic() - began - due
                    if behind > 1:
                        due += behind  # an outage is not made up for by a flood
                    await self._pause(-behind)
            except KafkaError:
                await asyncio.sleep(0.2)
            finally:
                await _quietly(producer.stop())

    async def _pause(self, seconds: float) -> None:
        """Until the next message is due, or a burst is asked for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._hurry.wait()
        self._hurry.clear()

    def burst(self, each: int = 2) -> list[str]:
        """Send now, without a pause, so many messages for each partition; the keys of those."""
        first, many = self._number + 1, each * self.partitions  # one may be on its way already
        self._burst = many + 1
        self._hurry.set()
        return [self._message(number).key for number in range(first, first + many)]

    def _message(self, number: int) -> Sent:
        """Always the same for a number. Its conversation is on the partition of the same number as the message."""
        key = self._keys.get(number)
        if key is None:
            tries = (f"{self._mark}-{number}-{again}" for again in count())
            key = next(
                each for each in tries if (murmur2(each.encode()) & 0x7FFFFFFF) % self.partitions == number % self.partitions
            )
            self._keys[number] = key
            text = self._random.choice(TEXTS)
            body = {
                "text": text.format(number % 24 + 1, key),
                "conversation_id": key,
                "message_id": "m1",
                "customer_id": "cust-001",
            }
            self.sent[key] = Sent(key, text is COMPLAINT, number % self.partitions, body)
        return self.sent[key]

    async def read(self) -> None:
        """Follow the responses and the dead letters from their beginning, for ever."""
        while True:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, fetch_max_wait_ms=20, request_timeout_ms=8000)
            try:
                await consumer.start()
                partitions = [
                    TopicPartition(topic, n) for topic in ("customer.responses", "dead-letters") for n in range(self.partitions)
                ]
                consumer.assign(partitions)
                await consumer.seek_to_beginning(*partitions)
                while True:
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        for record in records:
                            self._take(record.topic, record.partition, record.offset, record.value)
            except KafkaError:
                await asyncio.sleep(0.2)
            finally:
                await _quietly(consumer.stop())

    def _take(self, topic: str, partition: int, offset: int, value: bytes) -> None:
        place = (topic, partition, offset)
        if place in self._seen:
            return
        self._seen.add(place)
        body = json.loads(value)
        if topic == "dead-letters":
            self.dead.append(str(body["reason"]))
            return
        message = self.sent.get(body["conversation_id"])
        if message is None:
            return
        message.ids[body["id"]] += 1
        if message.answered is None:
            message.answered = time.monotonic()
            message.status, message.error = body["status"], body["error"]
            message.acted = any("slack.send_message" in node["tools"] for node in body["trace"] if node["status"] == "executed")

    @property
    def open(self) -> list[Sent]:
        return [message for message in self.sent.values() if message.at and message.answered is None]

    async def answered(self, patience_s: float) -> None:
        """Wait until every message has a response, or patience has run out."""
        deadline = time.monotonic() + patience_s
        while self.open and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    async def finish(self, patience_s: float) -> Verdict:
        """Send no more, let what is on its way be acknowledged, and wait for its answers and for second ones."""
        self._sending = False
        await self._all_sent.wait()
        await self.answered(patience_s)
        await asyncio.sleep(LATE_S)
        return await self._verdict()

    def wrong(self, most: int = 10) -> str:
        """The messages without a response or with two, for a failure to show."""
        wrong = [message for message in self.sent.values() if message.at and len(message.ids) != 1]
        return "\n".join(str(message) for message in wrong[:most])

    def failures(self) -> Counter[str]:
        """Why messages were answered with a failure response, and how many for each reason."""
        return Counter(str(m.error) for m in self.sent.values() if m.status not in ("completed", "handed_over", ""))

    async def _verdict(self) -> Verdict:
        actions = Counter[str]()
        for action in (await self._actions())["actions"]:
            if action["tool"] == "SLACK_SEND_MESSAGE" and action["successful"]:
                words = [word.strip(".,()") for word in str(action["arguments"]["text"]).split()]
                actions.update(word for word in set(words) if word in self.sent)
        sent = [message for message in self.sent.values() if message.at]
        return Verdict(
            messages=len(sent),
            lost=sum(not message.ids for message in sent),
            doubled=sum(len(message.ids) > 1 for message in sent),
            repeats=sum(sum(message.ids.values()) - len(message.ids) for message in sent),
            actions=sum(actions.values()),
            actions_doubled=sum(count > 1 for count in actions.values()),
            actions_missing=sum(message.acted and not actions[message.key] for message in sent),
            handed_over=sum(message.status == "handed_over" for message in sent),
            failed=self.failures().total(),
            dead_letters=len(self.dead),
        )

    async def _actions(self) -> Any:
        def fetch() -> Any:
            with urllib.request.urlopen(f"{self.shop_url}/shop/actions", timeout=30) as answer:
                return json.load(answer)

        return await asyncio.to_thread(fetch)

    async def recovered(self, at: float, keys: Sequence[str], patience_s: float = 60.0) -> tuple[float, float] | None:
        """Wait for the answers to a burst that was sent right after a fault at `at`.

        Seconds from the fault to (the first completed run of the slowest partition, the last completed run of the burst);
        None when patience has run out.
        """
        messages, deadline = [self.sent[key] for key in keys], time.monotonic() + patience_s
        while any(message.answered is None for message in messages):
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.01)
        first: dict[int, float] = {}
        for message in messages:
            assert message.answered is not None
            first[message.partition] = min(first.get(message.partition, 1e9), message.answered - at)
        return max(first.values()), max((message.answered or at) - at for message in messages)


async def _quietly(closing: Any) -> None:
    try:
        await asyncio.wait_for(closing, 5)
    except (KafkaError, TimeoutError):
        return


@asynccontextmanager
async def watching(bootstrap: str, shop_url: str, rate: float) -> AsyncIterator[Oracle]:
    """Load and bookkeeping for as long as the block lasts."""
    oracle = Oracle(bootstrap, shop_url, rate)
    async with at_work(oracle):
        yield oracle


@asynccontextmanager
async def at_work(oracle: Oracle) -> AsyncIterator[None]:
    """It sends and reads for as long as the block lasts."""
    tasks = [asyncio.create_task(oracle.read()), asyncio.create_task(oracle.send())]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
