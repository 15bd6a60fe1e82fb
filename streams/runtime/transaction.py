"""Records on several topics and positions in several partitions, together or not at all, by one owner at a time.

For a processor that has its state elsewhere than in this runtime (the ledger's tables are Faust's) and still must not let
state, outputs and position disagree.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime.closing import close
from streams.runtime.model import Interrupted, Outgoing
from streams.runtime.patience import BROKER_S
from streams.runtime.positions import committed
from streams.runtime.publisher import key_hash
from streams.runtime.reading import Reader
from streams.runtime.transactional import failure, finished, producer, taken_over


async def positions(bootstrap: str, group: str, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the offset of the next record of it that the group has to read, of every partition.

    Read afresh from the broker. What the group has never committed begins at its first record.
    """
    wanted = [TopicPartition(topic, number) for topic, number in partitions]
    found = await committed(bootstrap, group, wanted)
    async with _reader(bootstrap, wanted) as reader:
        beginnings = await reader.beginnings()
    return {(tp.topic, tp.partition): max(found.get(tp, 0), beginnings[tp]) for tp in wanted}


async def ends(bootstrap: str, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """(topic, partition) → one past its last record."""
    async with _reader(bootstrap, [TopicPartition(topic, number) for topic, number in partitions]) as reader:
        return {(tp.topic, tp.partition): end for tp, end in (await reader.ends()).items()}


async def first_from(bootstrap: str, partition: tuple[str, int], offset: int) -> int:
    """The offset of the first record of a partition that is not before `offset`; there must be one."""
    tp = TopicPartition(*partition)
    async with _reader(bootstrap, [tp]) as reader:
        reader.seek({tp: max(offset, (await reader.beginnings())[tp])})
        while True:
            for raw in await reader.read(timeout_ms=100):
                return int(raw.offset)


@asynccontextmanager
async def _reader(bootstrap: str, partitions: Sequence[TopicPartition]) -> AsyncIterator[Reader]:
    reader = Reader(bootstrap, sorted({tp.topic for tp in partitions}))
    await reader.start(only=partitions)
    try:
        yield reader
    finally:
        await reader.stop()


class Transactions:
    """One transactional producer. Whoever opens one of the same name later shuts this one out."""

    def __init__(
        self,
        bootstrap: str,
        name: str,
        *,
        group: str,
        client_id: str = "hil",
        max_message_bytes: int = 8 * 1024 * 1024,
        patience_s: float = BROKER_S,
    ) -> None:
        self._name = name
        self._group = group
        self._patience_s = patience_s
        self._make = partial(producer, bootstrap, name, client_id=client_id, max_message_bytes=max_message_bytes)
        self._producer: Any = None

    async def open(self) -> None:
        """Ends the former owner's open transaction, markers included, and refuses everything it sends from now on."""
        self._producer = await taken_over(self._name, self._make, self._patience_s)

    async def commit(self, records: Sequence[Outgoing], positions: Mapping[tuple[str, int], int]) -> None:
        """All of it or nothing. `positions`: (topic, partition) → the next offset to read.

        Raises Fenced when there is a newer owner, Interrupted when there is none and this one cannot go on as it is; anything
        else is fatal as well: nothing has been committed as far as is known here.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._commit(records, positions)
        except (kafka_errors.KafkaError, kafka_errors.IllegalOperation, TimeoutError) as error:
            raise failure(self._name, self._producer, error, self._patience_s) from error

    async def close(self) -> None:
        if self._producer is not None:
            await close(self._producer.stop())

    async def _commit(self, records: Sequence[Outgoing], positions: Mapping[tuple[str, int], int]) -> None:
        producer = self._producer
        if finished(producer):
            raise Interrupted(f"{self._name} has lost its producer between two commits")
        await producer.begin_transaction()
        sent = []
        for out in records:
            partition = out.partition
            if partition is None:
                partition = key_hash(out.key or b"") % len(await producer.partitions_for(out.topic))
            sent.append(
                await producer.send(out.topic, out.value, key=out.key, partition=partition, headers=[*out.headers] or None)
            )
        for delivery in sent:
            delivery.add_done_callback(lambda future: future.cancelled() or future.exception())
        for delivery in sent:  # not left to commit_transaction, which waits for them but commits although one has failed
            await delivery
        if positions:
            offsets = {TopicPartition(topic, number): position for (topic, number), position in positions.items()}
            await producer.send_offsets_to_transaction(offsets, self._group)
        await producer.commit_transaction()
