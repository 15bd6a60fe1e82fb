"""Makes the state of a conversation again from the log, where the changelog has something under its key that is none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import TopicPartition

from schemas.codec import Undecodable, decode
from schemas.topics import CONVERSATION_EVENTS, CONVERSATION_STATE, TOPICS, WORKFLOW_DEFINITIONS, WORKFLOW_EVENTS
from streams.core.graph import Graph
from streams.core.reducer import decide
from streams.core.state import Conversation, ConversationCodec
from streams.replay.files import CONVERSATIONS, graphs_of
from streams.replay.letters import Filter, find
from streams.replay.recording import Lying, beginnings
from streams.replay.verify import dead_of, everything
from streams.replay.window import window
from streams.runtime import Outgoing, Publisher, Record, RuntimeFailed, tail
from streams.runtime.positions import committed
from streams.runtime.publisher import key_hash
from streams.runtime.reading import partition_counts, record_of

EVENTS = TOPICS[CONVERSATION_EVENTS].carries


@dataclass(frozen=True, slots=True)
class Restored:
    partition: int
    events: int
    """Folded into the state."""
    messages: int
    """Messages and answers the conversation has by then."""
    letters: int
    """Open dead letters of the conversation, which wait to be retried."""


async def restore(bootstrap: str, publisher: Publisher, name: str, *, dry_run: bool = False) -> Restored:
    """Fold the conversation's events as far as they were decided, and write the state behind what cannot be read.

    Its owner must be started again to read it. Raises RuntimeFailed, in words, when the state can be read, when nobody was
    refused for it (its owner may still know it, and write it), or when the log no longer has its beginning.
    """
    count = (await partition_counts(bootstrap, [CONVERSATION_EVENTS]))[CONVERSATION_EVENTS]
    partition = key_hash(name.encode()) % count
    await _need_it(bootstrap, name, partition)
    letters = await find(bootstrap, Filter(conversation=name, codes=("state_unreadable",)))
    if not letters:
        raise RuntimeFailed(
            f"no event of conversation {name!r} has been refused for its state, so whoever has it in hand still knows it: "
            "its next message writes it anew"
        )
    events = await _events(bootstrap, name, partition)
    outputs = [Lying.read(raw) for raw in await _of(bootstrap, WORKFLOW_EVENTS, partition, name)]
    if name not in beginnings(map(Lying.read, events), outputs):
        raise RuntimeFailed(f"the log no longer has the beginning of conversation {name!r}: begin it anew with --forget")
    graphs, _ = graphs_of(await everything(bootstrap, WORKFLOW_DEFINITIONS))
    state, folded = fold(events, graphs, await dead_of(bootstrap))
    if not dry_run:
        await publisher.send([_written(name, partition, state)])
    return Restored(partition, folded, state.ordinal - state.base if state is not None else 0, len(letters))


async def forget(bootstrap: str, publisher: Publisher, name: str, *, dry_run: bool = False) -> Restored:
    """Delete what cannot be read: the conversation begins anew. Raises RuntimeFailed when it can be read."""
    count = (await partition_counts(bootstrap, [CONVERSATION_EVENTS]))[CONVERSATION_EVENTS]
    partition = key_hash(name.encode()) % count
    await _need_it(bootstrap, name, partition)
    letters = await find(bootstrap, Filter(conversation=name, codes=("state_unreadable",)))
    if not dry_run:
        await publisher.send([_written(name, partition, None)])
    return Restored(partition, 0, 0, len(letters))


def fold(
    events: Iterable[Record], graphs: Mapping[str, Graph], dead: Collection[tuple[int, int]]
) -> tuple[Conversation | None, int]:
    """The state after the events of one conversation, and how many it is made of. What went to dead letters is no part of it."""
    state: Conversation | None = None
    folded = 0
    for record in events:
        if (record.partition, record.offset) in dead:
            continue
        try:
            event = decode(record.value, record.headers)
        except Undecodable:
            continue
        if isinstance(event, EVENTS):
            with suppress(Exception):  # the processor sent it to dead letters, and left the state alone
                state = decide(state, event, graphs).conversation
                folded += 1
    return state, folded


async def _need_it(bootstrap: str, name: str, partition: int) -> None:
    value: bytes | None = None
    async with tail(bootstrap, [CONVERSATION_STATE], "earliest", until_end=True) as records:
        async for record in records:
            if record.partition == partition and record.key == name.encode():
                value = record.value
    if value is None:
        raise RuntimeFailed(f"{CONVERSATION_STATE} has nothing about conversation {name!r}: its next message begins it")
    try:
        ConversationCodec().decode(value)
    except Exception:  # noqa: BLE001  every kind of garbage fails in its own way
        return
    raise RuntimeFailed(f"the state of conversation {name!r} can be read: there is nothing to restore")


async def _events(bootstrap: str, name: str, partition: int) -> list[Record]:
    """Those about the conversation, as far as they have been decided."""
    tp = TopicPartition(CONVERSATION_EVENTS, partition)
    decided = (await committed(bootstrap, CONVERSATIONS, [tp])).get(tp, 0)
    found = [Lying.read(raw) for raw in await _of(bootstrap, CONVERSATION_EVENTS, partition, name) if raw.offset < decided]
    return [lying.raw for lying in found if lying.event is not None and lying.event.conversation_id == name]


async def _of(bootstrap: str, topic: str, partition: int, name: str) -> list[Record]:
    """The records that name the conversation: text is text in Avro too."""
    mark = name.encode()
    async with window(bootstrap, topic, partitions=[partition]) as period:
        return [record_of(raw) async for batch in period.batches() for raw in batch if mark in (raw.value or b"")]


def _written(name: str, partition: int, state: Conversation | None) -> Outgoing:
    value = None if state is None else ConversationCodec().encode(state)
    return Outgoing(CONVERSATION_STATE, name.encode(), value, partition=partition)
