"""A publisher that several use at once: each waits for its own records, not for everybody's."""

from __future__ import annotations

import asyncio

import pytest

from connectors.kafka.admin import create_topics
from schemas.topics import Topic
from streams.runtime import Outgoing, Publisher

pytestmark = pytest.mark.kafka


async def test_a_send_does_not_wait_until_everybody_else_is_silent(kafka_bootstrap: str, unique: str):
    """The projector once waited for the end of the load to have one dead letter written."""
    busy, own = f"{unique}.busy", f"{unique}.own"
    await create_topics(kafka_bootstrap, partitions=1, topics={name: Topic(name, (), retention_ms=-1) for name in (busy, own)})

    class Again:
        """A record that is followed by another as soon as it is delivered."""

        going_on = True

        def delivered(self, partition: int, offset: int) -> None:
            if self.going_on:
                publisher.publish(Outgoing(busy, b"k", b"x" * 100), self)

    async with Publisher(kafka_bootstrap) as publisher:
        await publisher.send([Outgoing(busy, b"k", b"first")])
        load = [Again() for _ in range(50)]
        for each in load:
            each.delivered(0, 0)
        try:
            async with asyncio.timeout(5):
                await publisher.send([Outgoing(own, b"k", b"a"), Outgoing(own, b"k", b"b")])
                assert await publisher.send_one(Outgoing(own, b"k", b"c")) == (0, 2)
        finally:
            Again.going_on = False
