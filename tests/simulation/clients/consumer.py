"""AIOKafkaConsumer on the in-memory broker: a member of a group, or a reader of given partitions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.structs import OffsetAndTimestamp

from tests.simulation.broker.broker import Broker, Lost, Session
from tests.simulation.broker.cluster import group_place
from tests.simulation.broker.log import Entry
from tests.simulation.clients.asking import BACKOFF_S, MOVED, ask, told
from tests.simulation.world import Process

FETCH_RECORDS = 60


class Place:
    """One assigned partition: where reading stands, and what has arrived for it."""

    __slots__ = ("error", "fetched", "fetching", "highwater", "paused", "position")

    def __init__(self) -> None:
        self.position: int | None = None
        self.paused = self.fetching = False
        self.fetched: tuple[list[Entry], int] | None = None
        self.highwater: int | None = None
        self.error: Exception | None = None


class Consumer:
    """What streams.runtime uses of AIOKafkaConsumer."""

    def __init__(self, broker: Broker, process: Process, **config: Any) -> None:
        self._broker = broker
        self._process = process
        self._group: str | None = config.get("group_id")
        self._instance: str | None = config.get("group_instance_id")
        self._committed_only = config.get("isolation_level") == "read_committed"
        self._reset: str = config.get("auto_offset_reset", "latest")
        self._session_ms: int = config.get("session_timeout_ms", 10_000)
        self._heartbeat_ms: int = config.get("heartbeat_interval_ms", 3_000)
        self._rebalance_ms: int = config.get("rebalance_timeout_ms", self._session_ms)
        self._topics: tuple[str, ...] = ()
        self._listener: Any = None
        self._places: dict[TopicPartition, Place] = {}
        self._reassigning = True
        self._closed = False
        self._arrived: asyncio.Future[bool] | None = None
        self._assigned: list[asyncio.Future[None]] = []
        self._rejoin = asyncio.Event()
        self._closing = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None
        self._coordinator = SimpleNamespace(generation=-1, _do_commit_offsets=self._commit_once)
        self._member = ""
        self._fresh = True

    # life

    def subscribe(self, topics: Iterable[str], listener: Any = None) -> None:
        self._topics, self._listener = tuple(topics), listener

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._places = {tp: Place() for tp in partitions}
        self._reassigning = False

    async def start(self) -> None:
        await ask(self._broker, self._process, "metadata", told(lambda: None))
        if self._topics:
            self._coordination = self._process.create_task(self._coordinate())
            await self._assignment()

    async def stop(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        self._rejoin.set()
        if self._coordination is not None:
            await asyncio.wait((self._coordination,))
            self._broker.forget(self._process, self._member)
            if self._coordinator.generation > 0 and self._instance is None:
                leave = told(self._broker.groups.leave, self._group, self._member)
                with contextlib.suppress(Lost, *MOVED):
                    await self._broker.ask(self._process, "leave", leave, group_place(self._group or ""))
        self._wake()

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._places)

    # reading

    async def getmany(self, *, timeout_ms: int = 0, max_records: int | None = None) -> dict[TopicPartition, list[Any]]:
        timeout = timeout_ms / 1000
        while True:
            if self._reassigning and self._topics:
                await self._assignment()
            records = self._take(max_records)
            if records or not timeout or self._closed:
                return records
            began = self._process.time()
            arrived = self._arrived = self._process.create_future()
            late = self._process.call_later(timeout, _expire, arrived)
            try:
                if not await arrived:
                    return {}
            finally:
                late.cancel()
            timeout = max(0.0, timeout - (self._process.time() - began))

    def _take(self, max_records: int | None) -> dict[TopicPartition, list[Any]]:
        records: dict[TopicPartition, list[Any]] = {}
        for tp, place in self._places.items():
            if place.error is not None:
                if records:
                    break
                error, place.error = place.error, None
                raise error
            if place.fetched is None:
                continue
            entries, following = place.fetched
            place.fetched = None
            if not place.paused:
                if max_records is not None and len(entries) > max_records:
                    following = entries[max_records - 1].offset + 1
                    del entries[max_records:]
                place.position = following
                if entries:
                    records[tp] = [_record(tp, entry) for entry in entries]
                    if max_records is not None:
                        max_records -= len(entries)
            self._fetch(tp, place)
            if max_records == 0:
                break
        return records

    def _fetch(self, tp: TopicPartition, place: Place) -> None:
        if place.fetching or place.paused or place.position is None or place.fetched is not None or self._closed:
            return
        place.fetching = True
        position = place.position
        limit = 1 + int(self._broker.world.random.random() * FETCH_RECORDS)
        asked = self._broker.ask(
            self._process,
            "fetch",
            lambda answer: self._broker.fetch(tp, position, committed=self._committed_only, limit=limit, answer=answer),
            tp,
        )
        asked.add_done_callback(lambda future: self._fetched(tp, place, position, future))

    def _fetched(self, tp: TopicPartition, place: Place, position: int, future: asyncio.Future[Any]) -> None:
        place.fetching = False
        error = future.exception()
        if self._places.get(tp) is not place or self._closed:
            return
        if isinstance(error, (Lost, *MOVED)):
            self._process.call_later(BACKOFF_S, self._fetch, tp, place)
            return
        if place.position != position:
            self._fetch(tp, place)
            return
        if isinstance(error, kafka_errors.OffsetOutOfRangeError):
            if self._reset == "none":
                place.error = kafka_errors.OffsetOutOfRangeError({tp: position})
            else:
                log = self._broker.log(tp)
                place.position = log.start if self._reset == "earliest" else log.end
                self._fetch(tp, place)
        elif error is not None:
            place.error = error  # type: ignore[assignment]
        else:
            entries, following, place.highwater = future.result()
            place.fetched = (entries, following)
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(True)

    # places

    def _place(self, partition: TopicPartition) -> Place:
        place = self._places.get(partition)
        if place is None:
            raise kafka_errors.IllegalStateError(f"No current assignment for partition {partition}")
        return place

    def pause(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._place(partition).paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            place = self._place(partition)
            place.paused = False
            self._fetch(partition, place)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        place = self._place(partition)
        place.position, place.fetched = offset, None
        self._fetch(partition, place)

    async def position(self, partition: TopicPartition) -> int:
        place = self._place(partition)
        while place.position is None:
            await asyncio.sleep(0.01)
            place = self._place(partition)
        return place.position

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._place(partition).highwater

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._offsets(partitions, lambda log: log.start)

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._offsets(partitions, lambda log: log.end_for(committed=self._committed_only))

    async def offsets_for_times(self, timestamps: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        def first(log: Any, at: int) -> Any:
            found = next((entry for entry in log.records() if entry.timestamp >= at), None)
            return None if found is None else OffsetAndTimestamp(found.offset, found.timestamp)

        asked = {tp: first(self._broker.log(tp), at) for tp, at in timestamps.items()}
        found: dict[TopicPartition, Any] = await ask(
            self._broker, self._process, "offsets", told(lambda: asked), place=next(iter(timestamps), None)
        )
        return found

    async def _offsets(self, partitions: Iterable[TopicPartition], what: Any) -> dict[TopicPartition, int]:
        wanted = list(partitions)
        request = told(lambda: {tp: what(self._broker.log(tp)) for tp in wanted})
        found: dict[TopicPartition, int] = await ask(
            self._broker, self._process, "offsets", request, place=wanted[0] if wanted else None
        )
        return found

    # the group

    async def committed(self, partition: TopicPartition) -> int | None:
        if self._group is None:
            raise kafka_errors.IllegalOperation("Requires group_id")
        request = told(self._broker.groups.committed, self._group, partition)
        found: int | None = await ask(self._broker, self._process, "offset_fetch", request, place=group_place(self._group))
        return found

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        for tp in offsets:
            if tp not in self._places:
                raise kafka_errors.IllegalStateError(f"Partition {tp} is not assigned")

        try:
            await self._commit_until_answered(offsets)
        except (
            kafka_errors.UnknownMemberIdError,
            kafka_errors.IllegalGenerationError,
            kafka_errors.RebalanceInProgressError,
        ) as error:
            self._told(type(error))
            raise kafka_errors.CommitFailedError("the group has already rebalanced") from error

    async def _commit_until_answered(self, offsets: Mapping[TopicPartition, int]) -> None:
        while True:
            try:
                await self._coordinator._do_commit_offsets(None, offsets)
                return
            except (Lost, *MOVED):
                await asyncio.sleep(BACKOFF_S)

    async def _commit_once(self, assignment: Any, offsets: Mapping[TopicPartition, int]) -> None:
        """With the generation of the moment, which may be none."""
        generation = self._coordinator.generation
        request = told(self._broker.groups.commit, self._group or "", self._member, generation, dict(offsets))
        await self._broker.ask(self._process, "offset_commit", request, group_place(self._group or ""))

    def _told(self, error: type[Exception]) -> None:
        """A heartbeat or a commit was refused."""
        if issubclass(error, (kafka_errors.UnknownMemberIdError, kafka_errors.IllegalGenerationError)):
            self._forget_generation()
        self._rejoin.set()

    def _forget_generation(self) -> None:
        self._broker.forget(self._process, self._member)
        self._member, self._coordinator.generation = "", -1

    async def _assignment(self) -> None:
        waiting = self._process.create_future()
        self._assigned.append(waiting)
        await waiting

    async def _coordinate(self) -> None:
        prepared = False
        while not self._closing.is_set():
            if not prepared:
                self._reassigning = True
                revoked = set(self._places)
                result = self._listener.on_partitions_revoked(revoked)
                if asyncio.iscoroutine(result):
                    await result
                prepared = True
            partitions = await self._join()
            if partitions is None:
                await asyncio.sleep(BACKOFF_S)
                continue
            prepared = False
            self._places = {tp: Place() for tp in partitions}
            self._reassigning = False
            waiting, self._assigned = self._assigned, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
            result = self._listener.on_partitions_assigned(set(partitions))
            if asyncio.iscoroutine(result):
                await result
            await self._rejoin.wait()

    async def _join(self) -> tuple[TopicPartition, ...] | None:
        """JoinGroup and SyncGroup; None to try again."""
        groups, process = self._broker.groups, self._process
        name = self._group or ""

        if not self._member:
            self._member, self._fresh = groups.new_member_id(), True
        member, fresh = self._member, self._fresh

        def told_later(error: type[Exception]) -> None:
            process.call_soon(self._told_as, member, error)

        def join(answer: Any) -> None:
            session = Session(name, member, self._session_ms, self._heartbeat_ms, told_later)
            if fresh:
                self._broker.register(process, session)
            groups.join(
                name,
                member,
                fresh,
                self._instance,
                self._topics,
                self._session_ms,
                self._rebalance_ms,
                self._heartbeat_ms,
                told_later,
                answer,
            )

        try:
            generation, _ = await self._broker.ask(process, "join", join, group_place(name))
        except kafka_errors.UnknownMemberIdError:
            self._forget_generation()
            return None
        except (Lost, *MOVED):
            return None
        self._fresh = False
        if member != self._member:
            return None  # forgotten meanwhile
        self._coordinator.generation = generation
        self._rejoin.clear()
        try:
            partitions: tuple[TopicPartition, ...] = await self._broker.ask(
                process, "sync", lambda answer: groups.sync(name, member, generation, answer), group_place(name)
            )
        except (kafka_errors.UnknownMemberIdError, kafka_errors.IllegalGenerationError):
            self._forget_generation()
            return None
        except (kafka_errors.RebalanceInProgressError, Lost, *MOVED):
            return None
        return partitions

    def _told_as(self, member: str, error: type[Exception]) -> None:
        if member == self._member:
            self._told(error)


def _expire(waiting: asyncio.Future[bool]) -> None:
    if not waiting.done():
        waiting.set_result(False)


def _record(tp: TopicPartition, entry: Entry) -> Any:
    return ConsumerRecord(
        tp.topic,
        tp.partition,
        entry.offset,
        entry.timestamp,
        0,
        entry.key,
        entry.value,
        None,
        -1 if entry.key is None else len(entry.key),
        -1 if entry.value is None else len(entry.value),
        tuple(entry.headers),
    )
