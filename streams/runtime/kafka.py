"""The broker, as the runtime uses it: a member of a group, and the one place where an offset is committed.

Two ways to commit, with one face (`Commits`): `TransactionalCommits` writes states and position of a partition in one
transaction that only the newest owner can end; `GroupCommits` writes a position that only a current member may write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from streams.runtime.closing import close
from streams.runtime.model import Fenced, RuntimeFailed, RuntimeSettings
from streams.runtime.reading import Reader
from streams.runtime.tolerant import tolerate_header_names

FETCH_MAX_WAIT_MS = 100
"""aiokafka has one fetch per broker on its way; a partition that is resumed waits for it to come back."""
TRANSACTION_TIMEOUT_MS = 60_000
RETRY_BACKOFF_MS = 20
"""For transactions: the broker asks to come back while it still writes the markers of the one before."""

_REFUSALS = (
    kafka_errors.ProducerFenced,
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.InvalidProducerIdMapping,
    kafka_errors.InvalidTxnState,
)


class Commits(Protocol):
    """How the progress of one partition becomes durable."""

    async def open(self) -> None:
        """Shut out whoever owned the partition before."""
        ...

    async def commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        """Both or neither. Returns the changelog offset after the last write. Raises Fenced; anything else is fatal as well."""
        ...

    async def close(self) -> None: ...


class TransactionalCommits:
    """One transactional producer for one source partition, named for it, so that a new owner's producer fences the old one's."""

    def __init__(self, settings: RuntimeSettings, source: TopicPartition) -> None:
        self._source = source
        self._changelog = TopicPartition(settings.changelogs[source.topic], source.partition)
        self._group = settings.group
        self._patience_s = settings.broker_patience_s
        self._name = f"{settings.group}-{source.topic}-{source.partition}"
        self._producer: Any = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            client_id=settings.client_id,
            transactional_id=self._name,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            linger_ms=0,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            max_batch_size=512 * 1024,
            max_request_size=settings.max_message_bytes,
        )

    async def open(self) -> None:
        """InitProducerId: ends the former owner's open transaction and refuses everything it sends from now on."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._producer.start()
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise RuntimeFailed(f"{self._name} cannot be taken over from its former owner: {error!r}") from error

    async def commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._commit(position, writes)
        except kafka_errors.KafkaError as error:
            self._retrieve_refusal()
            if isinstance(error, _REFUSALS) or isinstance(error.__cause__, _REFUSALS):
                raise Fenced(f"{self._name} has a new owner: this one may not commit any more") from error
            raise RuntimeFailed(f"{self._name} cannot commit, its position stays where it is: {error!r}") from error
        except TimeoutError as error:
            raise RuntimeFailed(f"{self._name}: a commit was not answered within {self._patience_s:g} s") from error

    def _retrieve_refusal(self) -> None:
        """aiokafka leaves a refusal in futures of its own as well; unretrieved, they are logged as further errors later."""
        left = [self._producer._txn_manager.wait_for_transaction_end()]
        left += [batch._drain_waiter for lane in self._producer._message_accumulator._batches.values() for batch in lane]
        for future in left:
            if future is not None and future.done() and not future.cancelled():
                future.exception()

    async def _commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        producer = self._producer
        await producer.begin_transaction()
        end = None
        for batch, count in await self._send(writes):
            # Not left to commit_transaction, which waits for batches but commits although one has failed. And not while the
            # offsets are being added: the broker would refuse the batch for now, and the retry costs more than the wait.
            end = (await batch).offset + count
        if position is not None:
            await producer.send_offsets_to_transaction({self._source: position}, self._group)
        await producer.commit_transaction()
        return end

    async def _send(self, writes: Sequence[tuple[bytes, bytes | None]]) -> list[tuple[Any, int]]:
        batches: list[tuple[Any, int]] = []
        topic, partition = self._changelog
        remaining = list(reversed(writes))
        while remaining:
            builder, count = self._producer.create_batch(), 0
            while remaining and builder.append(key=remaining[-1][0], value=remaining[-1][1], timestamp=None) is not None:
                remaining.pop()
                count += 1
            builder.close()
            batch = await self._producer.send_batch(builder, topic, partition=partition)
            batch.add_done_callback(lambda future: future.cancelled() or future.exception())
            batches.append((batch, count))
        return batches

    async def close(self) -> None:
        await close(self._producer.stop())


class GroupCommits:
    """A position without state, through the membership: a member of an older generation is refused."""

    def __init__(self, member: Member, source: TopicPartition) -> None:
        self._member = member
        self._source = source

    async def open(self) -> None:
        """Nothing to shut out: the group's generation does it."""

    async def commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        assert not writes, "a stateless processor has no state to write"
        if position is not None:
            await self._member.commit(self._source, position)
        return None

    async def close(self) -> None: ...


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One membership of a consumer group. Polling and heartbeats go on whatever handlers do."""

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        assigned: Callable[[set[TopicPartition]], None],
        revoked: Callable[[set[TopicPartition]], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._assigned = assigned
        self._revoked = revoked
        self._due: list[tuple[TopicPartition, int, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._assignor: Any = _own_sticky_assignor()
        tolerate_header_names()
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            client_id=settings.client_id,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # positions come from `seek` alone; a reset would skip records in silence
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=max(settings.session_timeout_ms, int(settings.drain_deadline_s * 1000) + 10_000),
            partition_assignment_strategy=(self._assignor,),
        )

    async def start(self) -> None:
        """Join; returns with the first assignment."""
        self._consumer.subscribe(topics=list(self._settings.topics), listener=self)
        await self._consumer.start()

    async def stop(self) -> None:
        await close(self._consumer.stop())

    async def poll(self, timeout_ms: int, max_records: int | None = None) -> Mapping[TopicPartition, Sequence[Any]]:
        """aiokafka's records by partition."""
        try:
            fetched: Mapping[TopicPartition, Sequence[Any]] = await self._consumer.getmany(
                timeout_ms=timeout_ms, max_records=max_records
            )
        except kafka_errors.NoOffsetForPartitionError:
            return {}  # a new partition, before it was opened and given its position
        except kafka_errors.OffsetOutOfRangeError as error:
            raise RuntimeFailed(
                f"{self._settings.group}: retention has deleted records before they were handled ({error})"
            ) from error
        return fetched

    def pause(self, partition: TopicPartition) -> None:
        if partition in self._consumer.assignment():
            self._consumer.pause(partition)

    def resume(self, partition: TopicPartition) -> None:
        if partition in self._consumer.assignment():
            self._consumer.resume(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._consumer.seek(partition, offset)

    def end(self, partition: TopicPartition) -> int | None:
        """The last known end of a partition; None before its first fetch."""
        end: int | None = self._consumer.highwater(partition) if partition in self._consumer.assignment() else None
        return end

    async def lag(self, partitions: Iterable[TopicPartition]) -> int:
        """Records between what was fetched and the ends, asked of the broker."""
        ends: Mapping[TopicPartition, int] = await self._consumer.end_offsets(list(partitions))
        return sum([max(0, end - await self._consumer.position(partition)) for partition, end in ends.items()])

    async def committed(self, partition: TopicPartition) -> int | None:
        """Asked of the broker every time, never remembered."""
        committed: int | None = await self._consumer.committed(partition)
        return committed

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """The first offset there is, and the one past the last."""
        beginnings: Mapping[TopicPartition, int] = await self._consumer.beginning_offsets([partition])
        ends: Mapping[TopicPartition, int] = await self._consumer.end_offsets([partition])
        return beginnings[partition], ends[partition]

    async def commit(self, partition: TopicPartition, position: int) -> None:
        """Raises Fenced. Positions of partitions that are due together go in one request."""
        if partition not in self._consumer.assignment():
            raise Fenced(f"{self._settings.group} has lost {partition.topic}-{partition.partition} to another member")
        done = asyncio.get_running_loop().create_future()
        self._due.append((partition, position, done))
        if self._committing is None:
            self._committing = asyncio.get_running_loop().create_task(self._commit_due())
        await done

    async def _commit_due(self) -> None:
        while self._due:
            due, self._due = self._due, []
            failure = await self._commit_at_once({partition: position for partition, position, _ in due})
            for _, _, done in due:
                if not done.done():
                    done.set_result(None) if failure is None else done.set_exception(failure)
        self._committing = None

    async def _commit_at_once(self, positions: Mapping[TopicPartition, int]) -> Exception | None:
        group = self._settings.group
        try:
            async with asyncio.timeout(self._settings.broker_patience_s):
                await self._consumer.commit(positions)
        except (kafka_errors.CommitFailedError, kafka_errors.IllegalStateError) as error:
            return Fenced(f"{group} was refused a commit: its partitions may have other owners now ({error})")
        except TimeoutError:
            return RuntimeFailed(f"{group}: a commit was not answered within {self._settings.broker_patience_s:g} s")
        except kafka_errors.KafkaError as error:
            return RuntimeFailed(f"{group}: a commit failed for good: {error!r}")
        return None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._revoked(set(revoked))

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        # aiokafka never tells its assignor; without it a member that was away claims partitions others have had since
        self._assignor.on_generation_assignment(self._consumer._coordinator.generation)
        self._assigned(set(assigned))


async def restore(
    settings: RuntimeSettings, source: TopicPartition, start: int, load: Callable[[bytes | None, bytes | None], None]
) -> int:
    """Read the changelog of a partition from an offset to its end. Returns the end. The caller has fenced all other writers."""
    changelog = TopicPartition(settings.changelogs[source.topic], source.partition)
    reader = Reader(settings.bootstrap, (changelog.topic,), client_id=settings.client_id)
    await reader.start(only=(changelog,))
    try:
        end = (await reader.ends())[changelog]
        start = max(start, (await reader.beginnings())[changelog])
        if start >= end:
            return end
        reader.seek({changelog: start})
        while not await reader.reached({changelog: end}):
            for raw in await reader.read(timeout_ms=10):
                load(raw.key, raw.value)
        return end
    finally:
        await reader.stop()


def _own_sticky_assignor() -> type[StickyPartitionAssignor]:
    """aiokafka's sticky assignor remembers its assignment in the class; two members in one process would mix theirs up."""
    state = {"member_assignment": None, "generation": -1, "_latest_partition_movements": None}
    return type("StickyAssignorOfOneMember", (StickyPartitionAssignor,), state)
