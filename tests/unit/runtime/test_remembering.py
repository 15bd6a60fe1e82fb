"""Where processors without states stand, beside their group's offsets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.runtime import Outgoing, Record, remembering
from streams.runtime.commits import GroupCommits
from streams.runtime.noted import Identity, Noted
from streams.runtime.remembering import remember, remembered

TP = TopicPartition("customer.messages", 3)


async def found(monkeypatch: pytest.MonkeyPatch, *records: Outgoing) -> dict[TopicPartition, Noted]:
    @asynccontextmanager
    async def tail(*_: Any, **__: Any) -> AsyncIterator[Any]:
        async def each() -> AsyncIterator[Record]:
            for at, out in enumerate(records):
                yield Record(out.topic, 0, at, 0, out.key, out.value, ())

        yield each()

    monkeypatch.setattr(remembering, "tail", tail)
    return await remembered("nowhere:0", "positions", "hil.intake")


async def test_the_latest_position_of_each_partition_is_remembered(monkeypatch: pytest.MonkeyPatch):
    notes = Noted(5, 0, b"i" * 16), Noted(9, 0, b"i" * 16)
    records = [remember("positions", "hil.intake", TP, note) for note in notes]
    assert await found(monkeypatch, *records) == {TP: notes[1]}


async def test_other_groups_and_garbage_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch):
    garbage = [Outgoing("positions", key, b"\xff") for key in (None, b"", b"\xff", b"hil.intake t x", b"hil.intake t 1", b"a b")]
    assert await found(monkeypatch, remember("positions", "another", TP, Noted(5)), *garbage) == {}


async def test_a_position_is_remembered_once_the_group_has_it():
    told: list[Noted] = []

    class Member:
        async def commit(self, partition: TopicPartition, position: int) -> None:
            assert not told

    commits = GroupCommits(Member(), TP, Identity(0, b"i" * 16), None, told.append)  # type: ignore[arg-type]
    await commits.commit(7, ())
    assert told == [Noted(7, 0, b"i" * 16)]
    assert await commits.remembered(None) == Noted(7, 0, b"i" * 16)
