"""The ceiling: the records of a three-node run on bare aiokafka. No reducer, schemas, state, audit or recovery.

message → task → completion → task → completion → task → completion → response: 8 records. Two ways: `plain` calls
`producer.send` for each record and leaves batching and partitions to aiokafka, as its documentation does; `packed` fills whole
batches by hand for partitions known beforehand. Both read whole batches and let the client's timer commit.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.stage import say_ready, until_end_of_input

MESSAGES, TASKS, COMPLETIONS, RESPONSES = (f"bench.bare.{name}" for name in ("messages", "tasks", "completions", "responses"))
TOPICS = (MESSAGES, TASKS, COMPLETIONS, RESPONSES)
NODES = 3
BODY = b"x" * 300


class Bare:
    def __init__(self, producer: Any, group: str, topics: tuple[str, ...], bootstrap: str, way: str) -> None:
        self._producer = producer
        self._send = self._packed if way == "packed" else self._plain
        self._consumer: Any = AIOKafkaConsumer(
            *topics, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", fetch_max_wait_ms=100
        )
        self._steps: dict[bytes, int] = {}

    async def run(self) -> None:
        await self._consumer.start()
        try:
            while True:
                for source, records in (await self._consumer.getmany(timeout_ms=500)).items():
                    await self._pass_on(source.topic, source.partition, records)
                await asyncio.sleep(0)
        finally:
            await self._consumer.stop()

    async def _pass_on(self, topic: str, partition: int, records: list[Any]) -> None:
        keys: dict[str, list[bytes]] = {}
        for record in records:
            keys.setdefault(self._target(topic, record.key), []).append(record.key)
        for target, found in keys.items():
            await self._send(target, partition, found)

    def _target(self, topic: str, key: bytes) -> str:
        if topic == TASKS:
            return COMPLETIONS
        done = self._steps[key] = self._steps.get(key, -1) + 1
        if done < NODES:
            return TASKS
        del self._steps[key]
        return RESPONSES

    async def _plain(self, topic: str, partition: int, keys: list[bytes]) -> None:
        for key in keys:
            await self._producer.send(topic, BODY, key=key)

    async def _packed(self, topic: str, partition: int, keys: list[bytes]) -> None:
        builder = self._producer.create_batch()
        for key in keys:
            if builder.append(key=key, value=BODY, timestamp=None) is None:
                builder.close()
                await self._producer.send_batch(builder, topic, partition=partition)
                builder = self._producer.create_batch()
                builder.append(key=key, value=BODY, timestamp=None)
        builder.close()
        await self._producer.send_batch(builder, topic, partition=partition)


async def main(bootstrap: str, way: str) -> None:
    producer: Any = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=256 * 1024
    )
    await producer.start()
    loops = [
        asyncio.create_task(Bare(producer, "bench.bare.decide", (MESSAGES, COMPLETIONS), bootstrap, way).run()),
        asyncio.create_task(Bare(producer, "bench.bare.act", (TASKS,), bootstrap, way).run()),
    ]
    say_ready()
    ending = asyncio.create_task(until_end_of_input())
    done, _ = await asyncio.wait((*loops, ending), return_when=asyncio.FIRST_COMPLETED)
    for task in (*loops, ending):
        task.cancel()
    await asyncio.gather(*loops, ending, return_exceptions=True)
    await producer.stop()
    for task in done:
        task.result()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--way", choices=("plain", "packed"), default="plain")
    given = parser.parse_args()
    asyncio.run(main(given.bootstrap, given.way))
