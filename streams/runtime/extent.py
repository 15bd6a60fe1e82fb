"""How far a topic reaches, asked once over a connection of its own."""

from __future__ import annotations

from aiokafka.errors import KafkaError

from streams.runtime.reading import Reader, unreachable


async def extent(bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
    """Partition → the offset of its first record, and the one after its last; equal when it is empty. Raises RuntimeFailed."""
    reader = Reader(bootstrap, (topic,))
    await reader.start()
    try:
        beginnings, ends = await reader.beginnings(), await reader.ends()
    except KafkaError as error:
        raise unreachable(bootstrap, error) from error
    finally:
        await reader.stop()
    return {at.partition: (beginnings[at], end) for at, end in ends.items()}
