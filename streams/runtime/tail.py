"""Reading along a topic without a group: from a place, onwards or up to its present end. Changes nothing anywhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Literal

from aiokafka import TopicPartition

from streams.runtime.model import Record
from streams.runtime.noted import KEY as NOTE
from streams.runtime.reading import Reader, record_of

POLL_MS = 500


@asynccontextmanager
async def tail(
    bootstrap: str, topics: Sequence[str], start: Literal["earliest", "latest"] | int = "latest", *, until_end: bool = False
) -> AsyncIterator[AsyncIterator[Record]]:
    """`async with tail(...) as records: async for record in records`.

    The place is fixed when the context is entered: with `latest`, everything sent after that is seen. An int is a time in ms.
    With `until_end` the iteration stops where the topics ended on entry. Records of one partition come in order.
    What a changelog notes of its position is not among them.
    """
    reader = Reader(bootstrap, topics)
    await reader.start()
    try:
        ends = await reader.ends()
        if start == "latest":
            places = ends
        elif start == "earliest":
            places = await reader.beginnings()
        else:
            places = await reader.offsets_at(start)
        reader.seek(places)
        async with aclosing(_up_to(reader, ends) if until_end else _onwards(reader)) as records:
            yield records
    finally:
        await reader.stop()


async def _onwards(reader: Reader) -> AsyncGenerator[Record, None]:
    while True:
        for raw in await reader.read(POLL_MS):
            if raw.key != NOTE:
                yield record_of(raw)


async def _up_to(reader: Reader, ends: dict[TopicPartition, int]) -> AsyncGenerator[Record, None]:
    while not await reader.reached(ends):
        for raw in await reader.read(timeout_ms=20):
            if raw.key != NOTE and raw.offset < ends[TopicPartition(raw.topic, raw.partition)]:
                yield record_of(raw)
