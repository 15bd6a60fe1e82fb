"""A running system, seen from the terminal: sends to topics, follows them, decodes what it can."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from connectors.cli.ports import Addresses, Seen
from schemas.codec import Undecodable, decode, decode_inbound, strict_json
from schemas.events import DeadLetter
from schemas.topics import CUSTOMER_MESSAGES
from streams.runtime import Outgoing, Publisher, Record, tail

PREVIEW_BYTES = 2_000


class KafkaGateway:
    """connectors.cli.ports.Gateway on Kafka."""

    def __init__(self, addresses: Addresses, publisher: Publisher) -> None:
        self._addresses = addresses
        self._publisher = publisher

    @property
    def addresses(self) -> Addresses:
        return self._addresses

    async def send(self, topic: str, records: Sequence[tuple[str | None, bytes]]) -> None:
        await self._publisher.send(Outgoing(topic, key.encode() if key else None, value) for key, value in records)

    @asynccontextmanager
    async def tail(
        self, topics: Sequence[str], *, start: Literal["latest", "earliest"] | int = "latest", until_end: bool = False
    ) -> AsyncIterator[AsyncIterator[Seen]]:
        async with tail(self._addresses.kafka_bootstrap, topics, start=start, until_end=until_end) as records:
            yield (seen(record) async for record in records)


def seen(record: Record) -> Seen:
    """A record decoded as far as it can be: an event's JSON, an inbound message, else its text."""
    kind = next((value.decode(errors="replace") for name, value in record.headers if name == "ce_type" and value), None)
    body: Any
    error: str | None = None
    try:
        if record.topic == CUSTOMER_MESSAGES:
            body = decode_inbound(record.value, record.headers).model_dump(mode="json")
        else:
            event = decode(record.value, record.headers)
            body = event.model_dump(mode="json")
            if isinstance(event, DeadLetter):
                body["payload"] = _payload(event)
    except Undecodable as problem:
        body, error = (record.value or b"")[:PREVIEW_BYTES].decode(errors="replace"), problem.reason
    return Seen(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key=record.key.decode(errors="replace") if record.key is not None else None,
        type=kind,
        body=body,
        size=len(record.value or b""),
        error=error,
    )


def _payload(letter: DeadLetter) -> Any:
    """JSON, else text; whoever wrote the letter may have put anything there."""
    try:
        raw = base64.b64decode(letter.payload_base64)
    except ValueError:
        return letter.payload_base64[:PREVIEW_BYTES]
    try:
        return strict_json.parse(raw)
    except Undecodable:
        return raw[:PREVIEW_BYTES].decode(errors="replace")
