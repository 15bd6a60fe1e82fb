"""Where processors without states stand, kept in a compacted topic: a group's own offsets expire, or are deleted.

Written after the group's offset is committed, not with it: it may be a moment behind, never ahead. Who begins there does a few
records again, and whoever reads the outputs knows them by their ids.
"""

from __future__ import annotations

from aiokafka import TopicPartition

from streams.runtime.model import Outgoing
from streams.runtime.noted import Noted, read
from streams.runtime.tail import tail


async def remembered(bootstrap: str, topic: str, group: str) -> dict[TopicPartition, Noted]:
    """What is in `topic` of a group. Raises RuntimeFailed when there is no such topic."""
    found: dict[TopicPartition, Noted] = {}
    async with tail(bootstrap, [topic], "earliest", until_end=True) as records:
        async for record in records:
            whose, partition = _read(record.key)
            noted = read(record.value)
            if partition is not None and whose == group and noted is not None:
                found[partition] = noted
    return found


def remember(topic: str, group: str, partition: TopicPartition, noted: Noted) -> Outgoing:
    """The record for `topic`."""
    return Outgoing(topic, f"{group} {partition.topic} {partition.partition}".encode(), noted.encode())


def _read(key: bytes | None) -> tuple[str, TopicPartition | None]:
    match (key or b"").decode(errors="replace").split(" "):
        case [group, topic, number] if number.isdecimal() and len(number) < 10:
            return group, TopicPartition(topic, int(number))
    return "", None
