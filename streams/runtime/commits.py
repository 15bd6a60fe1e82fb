"""How progress becomes durable: the one place where an offset is committed, and where states come back from.

`TransactionalCommits` writes states and position of a partition in one transaction that only the newest owner can end;
`GroupCommits` writes a position that only a current member of the group may write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from streams.runtime.closing import close
from streams.runtime.member import Member
from streams.runtime.model import Interrupted, RuntimeSettings
from streams.runtime.noted import KEY as NOTE
from streams.runtime.noted import Identity, Noted
from streams.runtime.reading import Reader
from streams.runtime.transactional import failure, finished, producer, taken_over

log = logging.getLogger(__name__)

NOBODY_KNOWS = Identity()

_UNFIT = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
"""What a broker says of records that it will never take, whatever else is the matter with it."""


class WritesRefused(Exception):
    """The changelog takes some of the writes never; nothing has been committed. A commit without them may follow."""

    def __init__(self, reasons: Mapping[bytes, str]) -> None:
        super().__init__(f"{len(reasons)} writes are refused")
        self.reasons = reasons
        """By key."""


class Commits(Protocol):
    """How the progress of one partition becomes durable."""

    identity: Identity
    """Of the source topic, as it is now."""

    async def remembered(self, committed: int | None) -> Noted | None:
        """What is known of the position where no states are, beside what the group has committed."""
        ...

    def note(self, position: int) -> Noted | None:
        """What is written with a position, beside the states."""
        ...

    async def open(self) -> None:
        """Shut out whoever owned the partition before."""
        ...

    async def commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        """Both or neither. Returns the changelog offset after the last write.

        Raises WritesRefused when it is up to some of the writes, and Fenced; anything else is fatal as well.
        """
        ...

    async def close(self) -> None: ...


class TransactionalCommits:
    """One transactional producer for one source partition, named for it, so that a new owner's producer fences the old one's."""

    def __init__(self, settings: RuntimeSettings, source: TopicPartition, identity: Identity = NOBODY_KNOWS) -> None:
        self.identity = identity
        self._settings = settings
        self._source = source
        self._changelog = TopicPartition(settings.changelogs[source.topic], source.partition)
        self._group = settings.group
        self._patience_s = settings.broker_patience_s
        self._name = f"{settings.group}-{source.topic}-{source.partition}"
        self._producer: Any = None

    async def open(self) -> None:
        """InitProducerId: ends the former owner's open transaction and refuses everything it sends from now on."""
        settings = self._settings
        make = partial(
            producer,
            settings.bootstrap,
            self._name,
            client_id=settings.client_id,
            max_message_bytes=settings.max_message_bytes,
        )
        self._producer = await taken_over(self._name, make, self._patience_s)

    async def commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        try:
            async with asyncio.timeout(self._patience_s):
                try:
                    return await self._commit(position, writes)
                except _UNFIT as error:
                    log.warning("%s: a commit was refused (%s), looking for the state that is at fault", self._name, error)
                    return await self._one_by_one(position, writes)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise failure(self._name, self._producer, error, self._patience_s) from error

    async def _commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        producer = self._producer
        if finished(producer):
            raise Interrupted(f"{self._name} has lost its producer between two commits: it is opened again")
        await producer.begin_transaction()
        end = None
        sent = await self._send(self._with_note(position, writes))
        for at, (batch, count) in enumerate(sent):
            # Not left to commit_transaction, which waits for batches but commits although one has failed. And not while the
            # offsets are being added: the broker would refuse the batch for now, and the retry costs more than the wait.
            try:
                end = (await batch).offset + count
            except _UNFIT:
                await asyncio.wait([batch for batch, _ in sent])
                await self._abort(sum(count for _, count in sent[at:]))
                raise
        return await self._end(position, end)

    async def _one_by_one(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        """After a batch was refused: find out which of its records is at fault. None is, when it was too large as a whole."""
        await self._producer.begin_transaction()
        end = None
        for write in self._with_note(position, writes):
            ((batch, _),) = await self._send([write])
            try:
                end = (await batch).offset + 1
            except _UNFIT as error:
                await self._abort(1)
                key, data = write
                size = len(key) + len(data or b"")
                raise WritesRefused({key: f"the changelog refuses it, with {size} bytes: {type(error).__name__}"}) from error
        return await self._end(position, end)

    def _with_note(
        self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]
    ) -> Sequence[tuple[bytes, bytes | None]]:
        return writes if position is None else (*writes, (NOTE, self.note(position).encode()))

    async def remembered(self, committed: int | None) -> Noted | None:
        """Nothing: it is among the states."""
        return None

    def note(self, position: int) -> Noted:
        return Noted(position, *self.identity)

    async def _abort(self, refused: int) -> None:
        """Give the transaction up. aiokafka has counted the records that were refused, the broker has not."""
        await self._producer.abort_transaction()
        self._producer._txn_manager.increment_sequence_number(self._changelog, -refused)

    async def _end(self, position: int | None, end: int | None) -> int | None:
        producer = self._producer
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
        if self._producer is not None:
            await close(self._producer.stop())


class GroupCommits:
    """A position without state, through the membership: a member of an older generation is refused."""

    def __init__(
        self,
        member: Member,
        source: TopicPartition,
        identity: Identity = NOBODY_KNOWS,
        noted: Noted | None = None,
        remember: Callable[[Noted], None] = lambda noted: None,
    ) -> None:
        """`noted`: what was known of its position when the process began; `remember` is told of each that is committed."""
        self.identity = identity
        self._member = member
        self._source = source
        self._noted = noted
        self._remember = remember

    async def remembered(self, committed: int | None) -> Noted | None:
        return self._noted

    def note(self, position: int) -> Noted:
        return Noted(position, *self.identity)

    async def open(self) -> None:
        """Nothing to shut out: the group's generation does it."""

    async def commit(self, position: int | None, writes: Sequence[tuple[bytes, bytes | None]]) -> int | None:
        assert not writes, "a stateless processor has no state to write"
        if position is not None:
            await self._member.commit(self._source, position)
            self._noted = self.note(position)
            self._remember(self._noted)
        return None

    async def close(self) -> None: ...


async def restore(
    settings: RuntimeSettings,
    source: TopicPartition,
    start: int,
    load: Callable[[bytes | None, bytes | None], int],
    progress: Callable[[int, int], None],
) -> int:
    """Read the changelog of a partition from an offset to its end. Returns the end. The caller has fenced all other writers.

    `progress` is told how many offsets have been read, of how many.
    """
    changelog = TopicPartition(settings.changelogs[source.topic], source.partition)
    reader = Reader(settings.bootstrap, (changelog.topic,), client_id=settings.client_id)
    await reader.start(only=(changelog,))
    try:
        end = (await reader.ends())[changelog]
        start = max(start, (await reader.beginnings())[changelog])
        if start >= end:
            return end
        reader.seek({changelog: start})
        progress(0, end - start)
        while not await reader.reached({changelog: end}):
            for raw in (raws := await reader.read(timeout_ms=10)):
                load(raw.key, raw.value)
            if raws:
                progress(min(end, raws[-1].offset + 1) - start, end - start)
        return end
    finally:
        await reader.stop()
