"""Garbage of every kind on every topic and every changelog: whoever reads it comes up, and goes on with everybody else's."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.codec import Undecodable, decode
from schemas.events import NodeCompleted, Outcome
from schemas.topics import CONVERSATION_EVENTS, NODE_TASKS_SIMPLE, TOPICS, journal_of
from streams.runtime import Record, tail
from tests.support.garbage import Garbage, kinds, litter
from tests.support.system import PATIENCE_SECONDS, System, environ, hil, message, produce, reading, start

pytestmark = pytest.mark.xdist_group("garbage")

PARTITIONS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a system of its own: nobody else could live on its topics."""
    return tmp_path_factory.mktemp("garbage")


def begun(folder: Path) -> System:
    return start(folder, HIL_PARTITIONS=str(PARTITIONS))


def ended(system: System) -> None:
    assert system.stop() == 0, system.log.read_text()[-4000:]


async def answered(system: System, *conversations: str, turn: str = "m1") -> list[dict[str, Any]]:
    """One response to a message of each conversation."""
    sent = [message("Where is order #1003?", name) | {"message_id": f"{name}-{turn}"} for name in conversations]
    wanted = {entry["message_id"] for entry in sent}
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, sent, keys=[entry["conversation_id"].encode() for entry in sent])
        deadline_values: list[dict[str, Any]] = []
        while not wanted <= {value.get("message_id") for value in deadline_values}:
            seen = len(reader.records)
            await reader.until(lambda _: len(reader.records) > seen)  # noqa: B023
            deadline_values = readable(reader.records)
    found = [value for value in deadline_values if value.get("message_id") in wanted]
    assert len(found) == len(wanted), "each is answered once"
    assert {value["status"] for value in found} == {"completed"}
    return found


async def task_of(system: System, conversation: str) -> Record:
    """A task of the conversation, as it lies on its topic."""
    async with tail(system.bootstrap, [NODE_TASKS_SIMPLE], "earliest", until_end=True) as records:
        [found, *_] = [record async for record in records if conversation.encode() in (record.value or b"")]
    return found


async def parked(system: System, asked: Record) -> None:
    """The task comes again, and what was done for it cannot be read."""
    async with tail(system.bootstrap, [CONVERSATION_EVENTS]) as events:
        producer = AIOKafkaProducer(bootstrap_servers=system.bootstrap)
        await producer.start()
        try:
            await producer.send_and_wait(
                asked.topic, asked.value, key=asked.key, partition=asked.partition, headers=list(asked.headers)
            )
        finally:
            await producer.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for record in events:
                with suppress(Undecodable):
                    event = decode(record.value, record.headers)
                    if isinstance(event, NodeCompleted) and event.execution_id.encode() == asked.key:
                        assert event.outcome is Outcome.PARK
                        assert "cannot be read" in (event.error or "")
                        return


async def refused(system: System, conversation: str) -> None:
    """A message of a conversation whose state cannot be read: a dead letter, and no answer of a conversation that began anew."""
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, [message("hello", conversation) | {"message_id": "m5"}], keys=[conversation.encode()])
        letters = await reader.until(
            lambda letters: any(letter["record_key"] == conversation for letter in letters), topic="dead-letters"
        )
    [letter] = [letter for letter in letters if letter["record_key"] == conversation]
    assert letter["code"] == "state_unreadable"
    assert "hil replay restore" in letter["reason"]


def readable(records: list[Any]) -> list[dict[str, Any]]:
    """The JSON objects among the records of `customer.responses`."""
    found = []
    for record in records:
        if record.topic == "customer.responses":
            with suppress(ValueError, RecursionError, TypeError):
                value = json.loads(record.value)
                if isinstance(value, dict):
                    found.append(value)
    return found


def typed(system: System, *arguments: str, code: int = 0) -> str:
    """What a command prints; it must end with `code`."""
    done = subprocess.run(hil(*arguments), env=environ(system.log.parent), capture_output=True, timeout=PATIENCE_SECONDS)
    assert b"Traceback" not in done.stderr, done.stderr.decode()[-4000:]
    assert done.returncode == code, (arguments, done.stdout.decode()[-2000:], done.stderr.decode()[-4000:])
    return done.stdout.decode()


def calls(system: System) -> int:
    return int(json.loads(typed(system, "costs", "summary", "--json"))["total"]["calls"])


async def test_every_processor_comes_up_on_garbage_and_answers(folder: Path, unique: str):
    """Honest messages before, between and after, over two restarts; then every command that reads the log."""
    system = begun(folder)
    try:
        before = [f"{unique}-a{number}" for number in range(4)]
        await answered(system, *before)
        await produce(system.bootstrap, [message("again", before[1])], keys=[before[1].encode()])  # the same id, another time
        asked = await task_of(system, before[3])
        await litter(system.bootstrap, [journal_of(asked.topic)], [Garbage("journal", asked.key, b"garbage")])
        written = await litter(system.bootstrap, list(TOPICS), kinds(before[0].encode()))
        assert written.accepted > 10_000
        await answered(system, f"{unique}-b0", f"{unique}-b1")
        await answered(system, before[1], turn="m1b")
    finally:
        ended(system)
    system = begun(folder)
    try:
        await answered(system, f"{unique}-c0", f"{unique}-c1")
        await answered(system, before[1], before[2], turn="m2")
        await answered(system, before[3], turn="m3")
        await parked(system, asked)
        await refused(system, before[0])
        if failed := commands(system, folder):
            pytest.fail("\n".join(failed))
        letters(system)
        whole = typed(system, "replay", "record", str(folder / "whole.gz"), "--conversation", before[1])
        assert "1 conversations" in whole
        assert "left out" not in whole
        typed(system, "replay", "restore", before[0])
    finally:
        ended(system)
    system = begun(folder)
    try:
        await answered(system, f"{unique}-d0", before[2], turn="m4")
        async with reading(system.bootstrap) as reader:
            typed(system, "dead-letters", "retry", "--code", "state_unreadable", "--conversation", before[0])
            while not any(each.get("conversation_id") == before[0] for each in readable(reader.records)):
                seen = len(reader.records)
                await reader.until(lambda _: len(reader.records) > seen)  # noqa: B023
        await answered(system, before[0], turn="m6")
        typed(system, "replay", "verify")
    finally:
        ended(system)


def letters(system: System) -> None:
    """Letters of ours among garbage, and among letters that only pretend to be ours: shown, retried or not, discarded."""
    rows = [json.loads(line) for line in typed(system, "dead-letters", "list", "--json").splitlines()]
    forged = [row for row in rows if row["id"].startswith("hil.dead.letter nul")]
    assert forged
    typed(system, "dead-letters", "show", "hil.dead.letter nul")
    for row in rows[:3]:
        assert json.loads(typed(system, "dead-letters", "show", row["id"]))["code"] == row["code"]
    typed(system, "dead-letters", "retry", "--everything", "--dry-run", code=1)
    typed(system, "dead-letters", "discard", "hil.dead.letter nul")


def commands(system: System, folder: Path) -> list[str]:
    """What went wrong with the commands that read the log."""
    asked: list[tuple[str, ...]] = [("replay", topic, "--format", "json") for topic in TOPICS]
    asked += [
        ("replay", "verify"),
        ("replay", "verify", "--from", "1h"),
        ("replay", "record", str(folder / "history.gz"), "--limit", "3"),
        ("replay", "verify", str(folder / "history.gz")),
        ("dead-letters", "list"),
        ("costs", "summary"),
        ("costs", "what-if", "--profile", "balanced=claude-3-haiku"),
        ("rebuild",),
        ("workflows", "list"),
    ]
    failed = []
    for arguments in asked:
        done = subprocess.run(hil(*arguments), env=environ(system.log.parent), capture_output=True, timeout=PATIENCE_SECONDS)
        if done.returncode:
            failed.append(f"{arguments}: {done.stdout.decode()[-1000:]} {done.stderr.decode()[-1500:]}")
    return failed
