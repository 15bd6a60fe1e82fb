"""How far a processor has come, asked by somebody who is not a member of its group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.runtime.closing import close
from streams.runtime.reading import unreachable


async def committed(bootstrap: str, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The committed position of each partition that has one. Everything before it is done, its outputs durable."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        found = await admin.list_consumer_group_offsets(group, partitions=list(partitions))
    except KafkaError as error:
        raise unreachable(bootstrap, error) from error
    finally:
        await close(admin.close())
    return {partition: position.offset for partition, position in found.items() if position.offset >= 0}
