"""Records on several topics and positions in several partitions, together or not at all, by one owner at a time.

For a processor that has its state elsewhere than in this runtime (the ledger's tables are Faust's) and still must not let
state, outputs and position disagree.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime.closing import close
from streams.runtime.commits import RETRY_BACKOFF_MS, TRANSACTION_TIMEOUT_MS
from streams.runtime.model import Fenced, Outgoing, RuntimeFailed
from streams.runtime.positions import committed
from streams.runtime.publisher import key_hash
from streams.runtime.reading import Reader

_REFUSALS = (
    kafka_errors.ProducerFenced,
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.InvalidProducerIdMapping,
    kafka_errors.InvalidTxnState,
    # What aiokafka says to the next `send` when a refusal has just ended the transaction that was begun.
    kafka_errors.IllegalOperation,
)


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
        patience_s: float = 30.0,
    ) -> None:
        self._name = name
        self._group = group
        self._patience_s = patience_s
        self._producer: Any = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            transactional_id=name,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            linger_ms=0,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            max_batch_size=512 * 1024,
            max_request_size=max_message_bytes,
        )

    async def open(self) -> None:
        """Ends the former owner's open transaction, markers included, and refuses everything it sends from now on."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._producer.start()
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise RuntimeFailed(f"{self._name} cannot be taken over from its former owner: {error!r}") from error

    async def commit(self, records: Sequence[Outgoing], positions: Mapping[tuple[str, int], int]) -> None:
        """All of it or nothing. `positions`: (topic, partition) → the next offset to read.

        Raises Fenced when there is a newer owner; anything else is fatal as well: nothing has been committed.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._commit(records, positions)
        except (kafka_errors.KafkaError, kafka_errors.IllegalOperation) as error:
            self._retrieve_refusal()
            if isinstance(error, _REFUSALS) or isinstance(error.__cause__, _REFUSALS):
                raise Fenced(f"{self._name} has a new owner: this one may not commit any more") from error
            raise RuntimeFailed(f"{self._name} cannot commit, its positions stay where they are: {error!r}") from error
        except TimeoutError as error:
            raise RuntimeFailed(f"{self._name}: a commit was not answered within {self._patience_s:g} s") from error

    async def close(self) -> None:
        await close(self._producer.stop())

    async def _commit(self, records: Sequence[Outgoing], positions: Mapping[tuple[str, int], int]) -> None:
        producer = self._producer
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

    def _retrieve_refusal(self) -> None:
        """aiokafka leaves a refusal in futures of its own as well; unretrieved, they are logged as further errors later."""
        left = [self._producer._txn_manager.wait_for_transaction_end()]
        left += [batch._drain_waiter for lane in self._producer._message_accumulator._batches.values() for batch in lane]
        for future in left:
            if future is not None and future.done() and not future.cancelled():
                future.exception()
