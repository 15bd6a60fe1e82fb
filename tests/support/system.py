"""A whole system as a user starts it: `hil up --json` as a process of its own, seen through a plain Kafka client."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

PATIENCE_SECONDS = 120


@dataclass
class System:
    process: subprocess.Popen[bytes]
    addresses: dict[str, Any]
    log: Path

    @property
    def bootstrap(self) -> str:
        return str(self.addresses["kafka_bootstrap"])

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def start(data: Path, **environment: str) -> System:
    """Start and return once it is ready. Its progress is in `log`; a failure shows its end."""
    data.mkdir(parents=True, exist_ok=True)
    log = data / "up.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(hil("up", "--json"), stdout=subprocess.PIPE, stderr=errors, env=environ(data, **environment))
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"hil up was not ready in {PATIENCE_SECONDS} s:\n{log.read_text()[-4000:]}")
    return System(process, json.loads(line), log)


def hil(*arguments: str) -> list[str]:
    """The command line of a `hil` command."""
    return [sys.executable, "-m", "streams.app", *arguments]


def environ(data: Path, **more: str) -> dict[str, str]:
    """This process's environment without any setting of ours, and with a data folder of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HIL_", "OPENAI_", "COMPOSIO_"))}
    return {**env, "HIL_DATA": str(data / "hil"), **more}


@dataclass
class Reader:
    """What an independent client has read so far, raw."""

    consumer: AIOKafkaConsumer
    records: list[Any] = field(default_factory=list)

    async def until(
        self, enough: Callable[[list[dict[str, Any]]], bool], *, topic: str = "customer.responses"
    ) -> list[dict[str, Any]]:
        """Read until `enough` holds of the JSON values of `topic`; fail with what there is when patience runs out."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not enough(self.values(topic)):
            assert time.monotonic() < deadline, (
                f"gave up on {topic} after {PATIENCE_SECONDS} s with {len(self.values(topic))} records"
            )
            for batch in (await self.consumer.getmany(timeout_ms=500)).values():
                self.records += batch
        return self.values(topic)

    def values(self, topic: str = "customer.responses") -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records if record.topic == topic]


@asynccontextmanager
async def reading(bootstrap: str, topics: Sequence[str] = ("customer.responses", "dead-letters")) -> AsyncIterator[Reader]:
    """Follow topics from their present end, without a group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_bytes=64 << 20, max_partition_fetch_bytes=16 << 20)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for topic in topics for number in await _partitions(consumer, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)
        yield Reader(consumer)
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    cluster = await consumer._client.fetch_all_metadata()
    return sorted(cluster.partitions_for_topic(topic) or ())


async def produce(
    bootstrap: str,
    values: Sequence[bytes | dict[str, Any]],
    *,
    topic: str = "customer.messages",
    keys: Sequence[bytes | None] = (),
    stamped_ms: Sequence[int] = (),
) -> None:
    """Produce like a stranger: any key, JSON or whatever bytes there are, and any time one likes."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=16 << 20)
    await producer.start()
    try:
        sent = [
            await producer.send(
                topic,
                value if isinstance(value, bytes) else json.dumps(value).encode(),
                key=keys[at] if keys else None,
                timestamp_ms=stamped_ms[at] if stamped_ms else None,
            )
            for at, value in enumerate(values)
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def message(text: str, conversation: str, **fields: Any) -> dict[str, Any]:
    return {"text": text, "conversation_id": conversation, "message_id": f"{conversation}-m1", **fields}
