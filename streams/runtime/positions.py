"""How far a processor has come, asked by somebody who is not a member of its group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.runtime.broker.answers import may_pass
from streams.runtime.broker.client import use_patient_clients
from streams.runtime.closing import close
from streams.runtime.patience import START_S
from streams.runtime.reading import unreachable

AGAIN_S = 0.2


async def committed(bootstrap: str, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The committed position of each partition that has one. Everything before it is done, its outputs durable."""
    use_patient_clients()
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        found = await _listed(admin, group, list(partitions))
    except KafkaError as error:
        raise unreachable(bootstrap, error) from error
    finally:
        await close(admin.close())
    return {partition: position.offset for partition, position in found.items() if position.offset >= 0}


async def _listed(admin: Any, group: str, partitions: list[TopicPartition]) -> Any:
    """A broker that has never had a group makes the topic for positions only when it is asked, and answers a little later."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return await admin.list_consumer_group_offsets(group, partitions=partitions)
        except KafkaError as error:
            if not may_pass(type(error)) or time.monotonic() > deadline:
                raise
        await asyncio.sleep(AGAIN_S)
