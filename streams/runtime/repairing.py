"""Positions looked at and set on purpose, from outside: for a group none of whose members is at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.runtime.broker.client import use_patient_clients
from streams.runtime.broker.identities import topic_ids
from streams.runtime.closing import close
from streams.runtime.commits import TransactionalCommits
from streams.runtime.extent import extent
from streams.runtime.model import RuntimeFailed, RuntimeSettings
from streams.runtime.noted import KEY, Identity, Noted, read
from streams.runtime.positions import committed
from streams.runtime.publisher import Publisher
from streams.runtime.reading import Reader, unreachable
from streams.runtime.remembering import remember, remembered

Place = Literal["earliest", "latest", "changelog"]


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a processor keeps the position of one topic, beside the group's own offset."""

    group: str
    topic: str
    changelog: str = ""
    """Of its states, with as many partitions; or…"""
    positions: str = ""
    """…the topic where processors without states keep theirs."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition of a group. Offsets; None where there is none."""

    partition: int
    beginning: int
    end: int
    committed: int | None
    noted: int | None
    change: str | None
    """What of the topic has changed since it was noted, in words."""


async def standings(bootstrap: str, kept: Kept) -> list[Standing]:
    """Of every partition. Reads the changelog from its beginning. Raises RuntimeFailed."""
    bounds, noted = await extent(bootstrap, kept.topic), await _noted(bootstrap, kept)
    places = await committed(bootstrap, kept.group, [TopicPartition(kept.topic, number) for number in bounds])
    identity = await _identity(bootstrap, kept, len(bounds))
    found = []
    for number, (beginning, end) in sorted(bounds.items()):
        note = noted.get(number)
        place = places.get(TopicPartition(kept.topic, number))
        change = None if note is None else note.differs(identity)
        found.append(Standing(number, beginning, end, place, None if note is None else note.position, change))
    return found


async def repair(bootstrap: str, kept: Kept, to: Place) -> list[tuple[Standing, int]]:
    """Set every partition's position, in the group and beside the states. Returns how each stood and where it is now.

    Raises RuntimeFailed while a member of the group is at work, and when the changelog has no position to go to.
    """
    await _nobody_at_work(bootstrap, kept.group)
    found = await standings(bootstrap, kept)
    targets = {each.partition: _target(kept, each, to) for each in found}
    identity = await _identity(bootstrap, kept, len(found))
    if kept.changelog:
        await _set_with_states(bootstrap, kept, targets, identity)
    else:
        await _set_offsets(bootstrap, kept, targets, identity)
    return [(each, targets[each.partition]) for each in found]


def _target(kept: Kept, standing: Standing, to: Place) -> int:
    if to != "changelog":
        return standing.beginning if to == "earliest" else standing.end
    if standing.change:
        raise RuntimeFailed(f"{kept.topic} {standing.change}: what was noted does not fit any more, choose earliest or latest")
    if standing.noted is None:
        raise RuntimeFailed(f"no position of {kept.topic}-{standing.partition} was noted: choose earliest or latest")
    return min(max(standing.noted, standing.beginning), standing.end)


async def _set_with_states(bootstrap: str, kept: Kept, targets: Mapping[int, int], identity: Identity) -> None:
    settings = RuntimeSettings(bootstrap, kept.group, (kept.topic,), {kept.topic: kept.changelog}, client_id="hil-positions")
    for number, position in targets.items():
        commits = TransactionalCommits(settings, TopicPartition(kept.topic, number), identity)
        try:
            await commits.open()
            await commits.commit(position, ())
        finally:
            await commits.close()


async def _set_offsets(bootstrap: str, kept: Kept, targets: Mapping[int, int], identity: Identity) -> None:
    places = {TopicPartition(kept.topic, number): position for number, position in targets.items()}
    use_patient_clients()
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=kept.group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(list(places))
        await consumer.commit(places)
    except KafkaError as error:
        raise RuntimeFailed(f"{kept.group} did not take its positions: {error!r}") from error
    finally:
        await close(consumer.stop())
    async with Publisher(bootstrap) as publisher:
        notes = {tp: Noted(position, *identity) for tp, position in places.items()}
        await publisher.send([remember(kept.positions, kept.group, tp, note) for tp, note in notes.items()])


async def _noted(bootstrap: str, kept: Kept) -> dict[int, Noted]:
    if not kept.changelog:
        known = await remembered(bootstrap, kept.positions, kept.group)
        return {tp.partition: note for tp, note in known.items() if tp.topic == kept.topic}
    found: dict[int, Noted] = {}
    reader = Reader(bootstrap, (kept.changelog,))
    await reader.start()
    try:
        ends = await reader.ends()
        reader.seek(await reader.beginnings())
        while not await reader.reached(ends):
            for raw in await reader.read(timeout_ms=100):
                if raw.key == KEY and (note := read(raw.value)) is not None:
                    found[raw.partition] = note
    finally:
        await reader.stop()
    return found


async def _identity(bootstrap: str, kept: Kept, count: int) -> Identity:
    topic_id = (await topic_ids(bootstrap, [kept.topic])).get(kept.topic, b"")
    return Identity(count if kept.changelog else 0, topic_id)


async def _nobody_at_work(bootstrap: str, group: str) -> None:
    use_patient_clients()
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        answers = await admin.describe_consumer_groups([group])
    except KafkaError as error:
        raise unreachable(bootstrap, error) from error
    finally:
        await close(admin.close())
    members = sum(len(described[5]) for answer in answers for described in answer.groups)
    if members:
        raise RuntimeFailed(f"{members} members of {group} are at work: stop them first")
