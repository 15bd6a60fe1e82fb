"""A followed topic outlives every record that its reader cannot use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.runtime import table
from streams.runtime.model import Record
from streams.runtime.table import FollowedTopic, passed_over


class Log:
    """Stands in for a Reader of one partition: hands over its records, then waits."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records
        self._read = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None: ...

    async def beginnings(self) -> dict[TopicPartition, int]:
        return {TopicPartition("t", 0): 0}

    async def ends(self) -> dict[TopicPartition, int]:
        return {TopicPartition("t", 0): len(self._records)}

    async def read(self, timeout_ms: int) -> list[Any]:
        await asyncio.sleep(0)
        found = self._records[self._read : self._read + 2]
        self._read += len(found)
        return found

    async def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        return self._read >= ends[TopicPartition("t", 0)]


def record(offset: int, value: bytes | None, key: bytes | None = b"k") -> Record:
    return Record("t", 0, offset, 0, key, value, ())


async def test_what_the_reader_raises_on_is_passed_over_with_one_line_that_says_why(monkeypatch: pytest.MonkeyPatch):
    taken: list[bytes | None] = []
    said: list[str] = []

    def take(each: Record) -> None:
        if each.value == b"bad":
            raise KeyError("nobody")
        if each.value == b"worse":
            raise ValueError("line one\n\x1b[2Jline two")
        taken.append(each.value)

    written = [record(offset, value) for offset, value in enumerate([b"1", b"bad", b"2", b"worse", None, b"3"])]
    monkeypatch.setattr(table, "Reader", lambda bootstrap, topics: Log(written))
    followed = FollowedTopic("nowhere:0", "t", take, report=said.append)
    async with followed:
        await followed.caught_up()
    assert taken == [b"1", b"2", None, b"3"]
    assert said == [
        "passing over t-0@1 (key b'k'), which cannot be used: KeyError: 'nobody'",
        r"passing over t-0@3 (key b'k'), which cannot be used: line one\n\x1b[2Jline two",
    ]


def test_the_line_is_short_and_printable_whatever_a_writer_chose():
    line = passed_over(record(7, b"v", key=b"\x1b]0;x\x07" * 10_000), ValueError("\x1b" * 10_000_000))
    assert line.isprintable()
    assert len(line) < 5_000
    assert "(no key)" in passed_over(record(7, b"v", key=None), ValueError("?"))
