"""The honest customers beside the attack: plain Kafka, nothing of our code. They count what was lost and how long it took."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

LATE_S = 3.0
"""How long after the last answer a second one to the same message is still looked for."""
TEXTS = (
    "[honest] Where is my order #10{:02d}?",
    "[honest] Which payment methods do you take for order 10{:02d}?",
    "[honest] When does my order #10{:02d} arrive?",
)


WORKFLOW: dict[str, Any] = {
    "name": "honest_desk",
    "version": "1.0.0",
    "description": "What honest customers are answered by: two calls of a model that answers at once.",
    "workflow": {
        "nodes": [
            {
                "id": "classify",
                "agent": "simple_intent_classifier",
                "prompt_template": "Sort this message. <message>{{ text }}</message>",
                "config": {
                    "model_profile": "fast",
                    "output_schema": {"type": "object", "properties": {"intent": {"type": "string"}}, "required": ["intent"]},
                },
            },
            {
                "id": "answer",
                "agent": "simple_response_generator",
                "prompt_template": "Answer a question about {{ intent }}. <message>{{ text }}</message>",
                "config": {"model_profile": "fast"},
            },
        ],
        "edges": [{"from": "classify", "to": "answer"}, {"from": "answer", "to": "END"}],
    },
}


@dataclass
class Sent:
    key: str
    phase: str
    at: float = 0.0
    """When the broker had it, on the monotonic clock."""
    answered: float | None = None
    ids: set[str] = field(default_factory=set)
    status: str = ""
    text: str = ""
    error: str | None = None


class Customers:
    """Send `rate` messages a second, each in a conversation of its own, from `start` to `finish`; read every answer."""

    def __init__(self, bootstrap: str, rate: float, partitions: int) -> None:
        self._bootstrap, self._rate, self._partitions = bootstrap, rate, partitions
        self.sent: dict[str, Sent] = {}
        self.dead: Counter[str] = Counter()
        """Dead letters by code, of everybody."""
        self.phase = "quiet"
        self._mark = f"honest-{uuid.uuid4().hex[:6]}"
        self._sending, self._number, self._due = True, 0, 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._due = time.monotonic()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._read())]

    async def finish(self, patience_s: float) -> None:
        """Send no more; wait for missing answers, and for second ones. Raises what sending or reading failed with."""
        self._sending = False
        await self._tasks[0]
        deadline = time.monotonic() + patience_s
        while self.open and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        await asyncio.sleep(LATE_S)
        await self.stop()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    @property
    def open(self) -> list[Sent]:
        return [each for each in self.sent.values() if each.at and each.answered is None]

    async def _send(self) -> None:
        while self._sending:
            producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True, request_timeout_ms=8000)
            try:
                await producer.start()
                while self._sending:
                    await self._send_next(producer)
            except KafkaError:
                await asyncio.sleep(0.2)
            finally:
                await _quietly(producer.stop())

    async def _send_next(self, producer: AIOKafkaProducer) -> None:
        number = self._number
        sent = self.sent.setdefault(f"{self._mark}-{number}", Sent(f"{self._mark}-{number}", self.phase))
        body = {
            "text": TEXTS[number % len(TEXTS)].format(number % 24 + 1),
            "conversation_id": sent.key,
            "message_id": "m1",
            "workflow": WORKFLOW["name"],
            "customer_id": f"customer-{number % 50}",
        }
        # A message whose acknowledgement got lost is sent again under its id: that is what the id is for.
        await producer.send_and_wait("customer.messages", json.dumps(body).encode(), key=sent.key.encode())
        sent.at = time.monotonic()
        self._number += 1
        self._due = max(self._due + 1 / self._rate, sent.at - 1)  # an outage is not made up for by a flood
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))

    async def _read(self) -> None:
        offsets: dict[TopicPartition, int] = {}
        topics = ("customer.responses", "dead-letters")
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(self._partitions)]
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                fetch_max_wait_ms=20,
                request_timeout_ms=8000,
                max_partition_fetch_bytes=16 << 20,
            )
            try:
                await consumer.start()
                consumer.assign(partitions)
                for partition in partitions:
                    consumer.seek(partition, offsets.get(partition, 0))
                while True:
                    for partition, records in (await consumer.getmany(timeout_ms=100)).items():
                        for record in records:
                            self._take(record)
                        offsets[partition] = records[-1].offset + 1
            except KafkaError:
                await asyncio.sleep(0.2)
            finally:
                await _quietly(consumer.stop())

    def _take(self, record: Any) -> None:
        """Others write on these topics too, whatever they like."""
        try:
            body = json.loads(record.value)
            if record.topic == "dead-letters":
                self.dead[str(body["code"])] += 1
                return
            sent = self.sent.get(body["conversation_id"])
            if sent is not None:
                sent.ids.add(body["id"])
                if sent.answered is None:
                    sent.answered = time.monotonic()
                    sent.status, sent.text, sent.error = body["status"], body["text"], body["error"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self.dead["(garbage on this topic)"] += 1


@dataclass
class Outcome:
    """What became of the honest messages of one phase. Latencies in seconds, from the broker's having it to its answer."""

    messages: int = 0
    lost: int = 0
    doubled: int = 0
    failed: int = 0
    """Answered, but not with status `completed`."""
    p50_s: float = 0.0
    p99_s: float = 0.0
    max_s: float = 0.0
    beside_restarts: int = 0
    """Messages that were on their way while a processor was away: counted, their latency is not."""


def outcome(sent: Sequence[Sent], away: Sequence[tuple[float, float]]) -> Outcome:
    """`away`: when processors were stopped on purpose, from the stop until all was caught up, on the monotonic clock."""
    waits, beside = [], 0
    for each in sent:
        if each.answered is None:
            continue
        if any(each.at < end and each.answered > begin for begin, end in away):
            beside += 1
        else:
            waits.append(each.answered - each.at)
    waits.sort()
    return Outcome(
        messages=len(sent),
        lost=sum(not each.ids for each in sent),
        doubled=sum(len(each.ids) > 1 for each in sent),
        failed=sum(bool(each.ids) and each.status != "completed" for each in sent),
        p50_s=_at(waits, 0.5),
        p99_s=_at(waits, 0.99),
        max_s=_at(waits, 1.0),
        beside_restarts=beside,
    )


def _at(ordered: Sequence[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4) if ordered else 0.0


async def _quietly(closing: Any) -> None:
    with suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(closing, 5)
