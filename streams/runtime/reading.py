"""Reading topics without a group: from a known offset, up to a known end or on and on. Commits nothing anywhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.runtime.broker.client import PatientClient, use_patient_clients
from streams.runtime.closing import close
from streams.runtime.model import Record, RuntimeFailed
from streams.runtime.patience import BROKER_S, START_S
from streams.runtime.tolerant import UNREADABLE, tolerate_header_names, unreadable

log = logging.getLogger(__name__)

METADATA_RETRY_S = 0.1
METADATA_RETRY_MS = 20


def record_of(raw: Any) -> Record:
    """Ours, from aiokafka's where it is not one already."""
    return (
        raw
        if isinstance(raw, Record)
        else Record(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, raw.headers)
    )


class Reader:
    """All partitions of some topics, read_committed. `start` must be awaited first; then `seek`, then `read`."""

    def __init__(self, bootstrap: str, topics: Sequence[str], *, client_id: str = "hil") -> None:
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        tolerate_header_names()
        use_patient_clients()
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            request_timeout_ms=int(BROKER_S * 1000),
            fetch_max_wait_ms=100,
        )
        self.partitions: tuple[TopicPartition, ...] = ()

    async def start(self, only: Sequence[TopicPartition] | None = None) -> None:
        """Connect and take `only` these partitions, or all of the topics. Nothing is read before the first `seek`."""
        try:
            self.partitions = tuple(only) if only is not None else await self._all_partitions()
            await self._consumer.start()
        except KafkaError as error:
            await self.stop()
            raise unreachable(self._bootstrap, error) from error
        except BaseException:
            await self.stop()
            raise
        self._consumer.assign(list(self.partitions))

    async def stop(self) -> None:
        await close(self._consumer.stop())

    async def beginnings(self) -> dict[TopicPartition, int]:
        return dict(await self._consumer.beginning_offsets(list(self.partitions)))

    async def ends(self) -> dict[TopicPartition, int]:
        """One past the last record that is there and not part of an open transaction."""
        return dict(await self._consumer.end_offsets(list(self.partitions)))

    async def offsets_at(self, timestamp_ms: int) -> dict[TopicPartition, int]:
        """The first offsets not older than a time, whatever the order of times; the end where there is none."""
        ends = await self.ends()
        found = await self._consumer.offsets_for_times(dict.fromkeys(self.partitions, timestamp_ms))
        return {
            partition: ends[partition] if found[partition] is None else found[partition].offset for partition in self.partitions
        }

    async def oldest(self) -> dict[TopicPartition, int]:
        """The timestamp in ms of the first record that is left in each partition; empty ones are not among them."""
        found = await self._consumer.offsets_for_times(dict.fromkeys(self.partitions, 0))
        return {partition: first.timestamp for partition, first in found.items() if first is not None}

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        for partition, offset in offsets.items():
            self._consumer.seek(partition, offset)

    async def read(self, timeout_ms: int, only: Sequence[TopicPartition] = ()) -> list[Any]:
        """What has arrived, or nothing after the timeout: aiokafka's records, in order per partition. `only` of these, if any.

        A batch that nobody can read is passed over with a word.
        """
        fetched = await self._consumer.getmany(*only, timeout_ms=timeout_ms)
        found = [raw for records in fetched.values() for raw in records]
        if any(raw.headers and raw.headers[0][0] == UNREADABLE for raw in found):
            found = [raw for raw in found if not _passed_over(raw)]
        return found

    async def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether everything before these ends has been returned by `read`.

        Asks for positions and not for the last record's offset: a log may end in a transaction marker, or be empty.
        """
        for partition, end in ends.items():
            if await self._consumer.position(partition) < end:
                return False
        return True

    async def _all_partitions(self) -> tuple[TopicPartition, ...]:
        counts = await partition_counts(self._bootstrap, self._topics)
        return tuple(TopicPartition(topic, number) for topic in self._topics for number in range(counts[topic]))


class Bounds:
    """Asks where partitions begin and end, over a connection of its own.

    A broker answers the requests of a connection one after the other, so on a member's own connection each question waits
    until the fetch before it has found records or given up.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str], *, client_id: str = "hil") -> None:
        self._topics = tuple(topics)
        use_patient_clients()
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            group_id=None,
            isolation_level="read_committed",
            request_timeout_ms=int(BROKER_S * 1000),
            retry_backoff_ms=METADATA_RETRY_MS,
        )

    async def start(self) -> None:
        """Connect, and learn who leads the partitions of the topics."""
        await self._consumer.start()
        await self._consumer.beginning_offsets([TopicPartition(topic, 0) for topic in self._topics])

    async def stop(self) -> None:
        await close(self._consumer.stop())

    async def of(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Of partitions of the topics: the first offset there is, and the one past the last (`Reader.ends`)."""
        if not partitions:
            return {}
        beginnings, ends = await asyncio.gather(
            self._consumer.beginning_offsets(list(partitions)), self._consumer.end_offsets(list(partitions))
        )
        return {partition: (beginnings[partition], ends[partition]) for partition in partitions}


async def partition_counts(bootstrap: str, topics: Iterable[str], *, patience_s: float = 5.0) -> dict[str, int]:
    """How many partitions each topic has. Raises RuntimeFailed when the broker does not answer or does not have one of them.

    A topic that was just created may be unknown to a broker for a moment, so a missing one is asked for again for a while.
    """
    topics = tuple(topics)
    clock = asyncio.get_running_loop()
    client: Any = PatientClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        answer_by = clock.time() + START_S
        deadline: float | None = None
        while True:
            try:
                known = await client.fetch_all_metadata()
            except KafkaError as error:
                if clock.time() >= answer_by:
                    raise unreachable(bootstrap, f"{error}: {client.silence()}") from error
                deadline = None
                await asyncio.sleep(METADATA_RETRY_S)
                continue
            counts = {topic: len(known.partitions_for_topic(topic) or ()) for topic in topics}
            missing = sorted(topic for topic, count in counts.items() if not count)
            if not missing:
                return counts
            if deadline is None:
                deadline = clock.time() + patience_s  # counts while somebody answers
            if clock.time() >= deadline:
                raise RuntimeFailed(f"the broker at {bootstrap} has no topic {', '.join(missing)}: create it first")
            await asyncio.sleep(METADATA_RETRY_S)
    except KafkaError as error:
        raise unreachable(bootstrap, error) from error
    finally:
        await close(client.close())


def _passed_over(raw: Any) -> bool:
    reason = unreadable(raw)
    if reason is not None:
        log.error("%s-%d: %s; it is passed over", raw.topic, raw.partition, reason)
    return reason is not None


def of_brokers(error: BaseException | None) -> bool:
    """Whether it tells of something a broker did or did not do, so that it may be over later."""
    return isinstance(error, KafkaError | OSError | TimeoutError)


def unreachable(bootstrap: str, error: Exception | str) -> RuntimeFailed:
    said = error.args[0] if isinstance(error, KafkaError) and error.args else error
    return RuntimeFailed(f"no Kafka broker answers at {bootstrap} ({said}): start it or correct the address")
