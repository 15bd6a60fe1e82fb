"""Topics: made as `schemas.topics` says, and compared with it. Never deletes or changes one that is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from schemas import topics as names
from schemas.topics import MAX_MESSAGE_BYTES, TOPICS, Topic

LEADER_SECONDS = 60.0
ANSWER_SECONDS = 20.0
CREATE_MS = 5_000
CHANGELOGS = {
    names.CONVERSATION_STATE: names.CONVERSATION_EVENTS,
    **{names.journal_of(tasks): tasks for tasks in names.TASK_TOPICS.values()},
    **names.LEDGER_STATE,
}
"""Changelog → the topic whose partitions it follows, one to one."""
COMPACT = {
    # A changelog is read whole at a takeover, so its old values should go soon: small segments, cleaned early.
    "segment.bytes": str(2 * MAX_MESSAGE_BYTES),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.2",
    "delete.retention.ms": "86400000",
}


class KafkaUnreachableError(Exception):
    """No broker answers. The message says where, why and what to do."""


class TopicsError(Exception):
    """The broker refused a topic, or a topic does not become usable. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Described:
    """A topic as the broker has it."""

    partitions: int
    config: Mapping[str, str]


async def create_topics(
    bootstrap: str, *, partitions: int, replication: int | None = None, topics: Mapping[str, Topic] = TOPICS
) -> list[str]:
    """Create the topics that are missing and wait until every partition of all has a leader.

    Returns the names of those created; topics that are there are left as they are (see `check_topics`).
    `replication`: copies of each partition; None means as many as there are brokers, at most three.
    """
    async with connected(bootstrap) as admin:
        brokers = len((await _answered(admin.describe_cluster))["brokers"])
        copies = replication or min(3, brokers)
        there = set(await _answered(admin.list_topics))
        missing = [topic for topic in topics.values() if topic.name not in there]
        created = []
        if missing:
            wanted = [_new(topic, partitions, copies) for topic in missing]
            answer = await _answered(partial(admin.create_topics, wanted, timeout_ms=CREATE_MS))
            for name, code, words in answer.topic_errors:
                error = for_code(code)
                if error is TopicAlreadyExistsError:  # somebody else was quicker
                    continue
                if code:
                    raise TopicsError(
                        f"Topic {name} cannot be created: {words or error.description} ({brokers} brokers, {copies} copies)"
                    )
                created.append(name)
        await _led(admin, list(topics))
        return created


async def check_topics(bootstrap: str, *, topics: Mapping[str, Topic] = TOPICS) -> list[str]:
    """What differs from `topics` on the broker, in words, each with its remedy. Empty: all is as it should be."""
    async with connected(bootstrap) as admin:
        known = await _answered(admin.describe_topics)
        found = {topic["topic"]: len(topic["partitions"]) for topic in known if not topic["error_code"]}
        there = [name for name in topics if name in found]
        described = {}
        if there:
            resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in there]
            for answer in await _answered(partial(admin.describe_configs, resources)):
                for code, words, _, name, entries in answer.resources:
                    if code:
                        raise TopicsError(f"The settings of topic {name} cannot be read: {words or for_code(code).description}")
                    described[name] = Described(found[name], {entry[0]: entry[1] for entry in entries})
        return mismatches(topics, described)


def mismatches(topics: Mapping[str, Topic], described: Mapping[str, Described]) -> list[str]:
    """Compare what should be with what is. Only what breaks a promise counts: retention is the operator's to choose."""
    faults = [f"topic {name} is missing: type `hil topics create`" for name in topics if name not in described]
    for name, is_now in described.items():
        topic = topics[name]
        policy = is_now.config.get("cleanup.policy", "")
        if topic.cleanup not in policy.split(","):
            faults.append(
                f"topic {name} has cleanup.policy {policy or 'unset'}, needs {topic.cleanup}: "
                f"kafka-configs --alter --topic {name} --add-config cleanup.policy={topic.cleanup}"
            )
        largest = int(is_now.config.get("max.message.bytes") or MAX_MESSAGE_BYTES)
        if largest < MAX_MESSAGE_BYTES:
            faults.append(
                f"topic {name} takes messages of up to {largest} bytes, needs {MAX_MESSAGE_BYTES}: "
                f"kafka-configs --alter --topic {name} --add-config max.message.bytes={MAX_MESSAGE_BYTES}"
            )
        if topic.single_partition and is_now.partitions != 1:
            faults.append(
                f"topic {name} has {is_now.partitions} partitions, needs exactly 1: delete it and type `hil topics create`"
            )
    for changelog, source in CHANGELOGS.items():
        if changelog in described and source in described and described[changelog].partitions != described[source].partitions:
            faults.append(
                f"topic {changelog} has {described[changelog].partitions} partitions and {source}, which it follows, has "
                f"{described[source].partitions}: the counts must be equal; with all processors stopped, add partitions to it "
                f"(kafka-topics --alter), or delete and recreate it if it has more"
            )
    counts = {name: described[name].partitions for name in names.LEDGER_SOURCES if name in described}
    if len(set(counts.values())) > 1:
        spoken = ", ".join(f"{name} has {count}" for name, count in counts.items())
        faults.append(
            f"{spoken} partitions: the ledger needs as many of each; with all processors stopped, add partitions to the smaller "
            "ones and their ledger-state.* (kafka-topics --alter)"
        )
    return faults


async def _answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Asked again while the broker that was asked is gone, or knows too little yet: all of it may be repeated."""
    last = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return await ask()
        except (KafkaError, TimeoutError) as error:
            if (isinstance(error, KafkaError) and not error.retriable) or time.monotonic() > last:
                raise
        await asyncio.sleep(0.2)


async def answers(bootstrap: str) -> bool:
    """Whether a broker takes requests at `bootstrap` now. Quiet: meant to be asked until it does."""
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), 5)
        writer.close()
        await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    try:
        async with connected(bootstrap, patience_seconds=5) as admin:
            cluster = await admin.describe_cluster()
            return bool(cluster["brokers"]) and cluster["controller_id"] >= 0
    except (KafkaUnreachableError, KafkaError):
        return False


@contextlib.asynccontextmanager
async def connected(bootstrap: str, *, patience_seconds: float = 10) -> AsyncIterator[Any]:
    """An admin client of `bootstrap`. Raises KafkaUnreachableError, also when the broker goes away meanwhile."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(patience_seconds * 1000))
    try:
        with _quiet():
            try:
                await admin.start()
                yield admin
            except (KafkaError, TimeoutError, OSError) as error:
                if isinstance(error, KafkaError) and not error.retriable:
                    raise TopicsError(f"Kafka at {bootstrap} refused: {error}") from error
                # What the client says when it cannot connect holds addresses in its own notation, which we have said better.
                why = "" if isinstance(error, KafkaConnectionError) else f" ({type(error).__name__})"
                if "," in bootstrap:
                    why = f" ({await _each(bootstrap)})"
                raise KafkaUnreachableError(
                    f"No Kafka answers at {bootstrap}{why}: start it, correct HIL_KAFKA_BOOTSTRAP, or unset it to use the "
                    "embedded one."
                ) from error
    finally:
        await admin.close()


async def _each(bootstrap: str) -> str:
    """What is at each address, in words."""

    async def at(address: str) -> str:
        host, _, port = address.strip().rpartition(":")
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), 2)
        except ConnectionRefusedError:
            return f"{address} refuses connections"
        except (OSError, TimeoutError, ValueError):
            return f"{address} cannot be reached"
        writer.close()
        return f"{address} takes connections and does not answer"

    return "; ".join(await asyncio.gather(*map(at, bootstrap.split(","))))


@contextlib.contextmanager
def _quiet() -> Any:
    """The client logs each failed attempt; the error that is raised says it once and better."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _new(topic: Topic, partitions: int, copies: int) -> NewTopic:
    config = {"cleanup.policy": topic.cleanup, "max.message.bytes": str(MAX_MESSAGE_BYTES)}
    if topic.cleanup == "compact":
        config |= COMPACT
    else:
        config["retention.ms"] = str(topic.retention_ms)
    if copies >= 3:
        config["min.insync.replicas"] = "2"
    return NewTopic(topic.name, 1 if topic.single_partition else partitions, copies, topic_configs=config | topic.config)


async def _led(admin: Any, wanted: list[str]) -> None:
    """Ask until every partition of the topics has a leader."""
    waiting = set(wanted)
    try:
        async with asyncio.timeout(LEADER_SECONDS):
            while True:
                for topic in await _answered(admin.describe_topics):
                    if topic["partitions"] and not topic["error_code"]:
                        led = all(part["leader"] >= 0 and part["error_code"] in (0, 9) for part in topic["partitions"])
                        (waiting.discard if led else waiting.add)(topic["topic"]) if topic["topic"] in wanted else None
                if not waiting:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TopicsError(
            f"No leader within {LEADER_SECONDS:.0f} s for: {', '.join(sorted(waiting))}. Is every broker up?"
        ) from None
