"""The ceiling: the records of a three-node run on bare aiokafka. No reducer, no schemas, no audit, no recovery.

message → task → completion → task → completion → task → completion → response: 8 records, and the conversation's state on a
changelog after each of its four events. `plain` is the ordinary program: each record is JSON with the CloudEvents headers by
which readers know a repeat; it is read, changed and sent on with `producer.send`, which batches and partitions by key. `packed`
shows what the client alone can do: constant bytes, whole batches filled by hand, partitions known beforehand, nothing read,
nothing decided, no headers, no state.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.stage import say_ready, until_end_of_input
from bench.workshop import ANSWER

NAMES = ("messages", "tasks", "completions", "responses", "state")
MESSAGES, TASKS, COMPLETIONS, RESPONSES, STATE = TOPICS = tuple(f"bench.bare.{name}" for name in NAMES)
NODES = 3
BODY = b"x" * 300


class Stage:
    """One consumer and what it makes of each record."""

    def __init__(self, producer: Any, group: str, topics: tuple[str, ...], bootstrap: str) -> None:
        self._producer = producer
        self._consumer: Any = AIOKafkaConsumer(
            *topics, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", fetch_max_wait_ms=100
        )
        self._states: dict[bytes, Any] = {}

    async def run(self) -> None:
        await self._consumer.start()
        try:
            while True:
                for source, records in (await self._consumer.getmany(timeout_ms=500)).items():
                    await self.pass_on(source.topic, source.partition, records)
                await asyncio.sleep(0)
        finally:
            await self._consumer.stop()

    async def pass_on(self, topic: str, partition: int, records: list[Any]) -> None:
        raise NotImplementedError

    def next_topic(self, topic: str, key: bytes, done: int) -> str:
        if topic == TASKS:
            return COMPLETIONS
        return TASKS if done < NODES else RESPONSES


class Plain(Stage):
    async def pass_on(self, topic: str, partition: int, records: list[Any]) -> None:
        for record in records:
            body = json.loads(record.value)
            number = body["step"] = body.get("step", 0) + 1
            if topic == TASKS:
                body |= {"output": {"response": ANSWER}}
            else:
                outputs = self._states.setdefault(record.key, {})
                if topic == COMPLETIONS:
                    outputs[f"n{len(outputs) + 1}"] = body.pop("output")
                await self._producer.send(STATE, json.dumps(outputs).encode(), key=record.key)
                if len(outputs) == NODES:
                    body |= {"outputs": self._states.pop(record.key)}
            target = self.next_topic(topic, record.key, len(body["outputs"]) if "outputs" in body else 0)
            headers = [
                ("ce_specversion", b"1.0"),
                ("ce_id", b"%s-%d" % (record.key, number)),
                ("ce_type", target.encode()),
                ("ce_source", b"bench"),
                ("ce_time", b"2026-01-31T12:00:00.000Z"),
                ("ce_subject", record.key),
                ("content-type", b"application/json"),
            ]
            await self._producer.send(target, json.dumps(body).encode(), key=record.key, headers=headers)


class Packed(Stage):
    async def pass_on(self, topic: str, partition: int, records: list[Any]) -> None:
        keys: dict[str, list[bytes]] = {}
        for record in records:
            done = 0
            if topic != TASKS:
                done = self._states.get(record.key, -1) + 1
                self._states[record.key] = done
            keys.setdefault(self.next_topic(topic, record.key, done), []).append(record.key)
        for target, found in keys.items():
            builder = self._producer.create_batch()
            for key in found:
                if builder.append(key=key, value=BODY, timestamp=None) is None:
                    builder.close()
                    await self._producer.send_batch(builder, target, partition=partition)
                    builder = self._producer.create_batch()
                    builder.append(key=key, value=BODY, timestamp=None)
            builder.close()
            await self._producer.send_batch(builder, target, partition=partition)


async def main(bootstrap: str, way: str) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    producer: Any = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=256 * 1024
    )
    await producer.start()
    stage = {"plain": Plain, "packed": Packed}[way]
    loops = [
        asyncio.create_task(stage(producer, "bench.bare.decide", (MESSAGES, COMPLETIONS), bootstrap).run()),
        asyncio.create_task(stage(producer, "bench.bare.act", (TASKS,), bootstrap).run()),
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
