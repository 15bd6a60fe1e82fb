"""The whole system as a stranger meets it: records in by a plain client, records out, and nothing else known."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from connectors.settings import Settings
from streams.app.publishing import list_published, publish_files
from tests.support.system import System, environ, hil, message, produce, reading, start

pytestmark = pytest.mark.xdist_group("system")

BAD: dict[str, bytes] = {
    "invalid_json": b'{"text": "hi", "conversation_id": ',
    "invalid_utf8": b'{"text": "\xff\xfe", "conversation_id": "bad"}',
    "wrong_type": b'{"text": 7, "conversation_id": "bad"}',
    "missing_field": b'{"text": "hi"}',
    "duplicate_key": b'{"text": "a", "text": "b", "conversation_id": "bad"}',
    "too_large": b'{"text": "' + b"x" * (5 << 20) + b'", "conversation_id": "bad"}',
    "unknown_workflow": b'{"text": "hi", "conversation_id": "bad", "workflow": "customer_suport_advanced"}',
    "unknown_fingerprint": b"\xc3\x01" + b"\x07" * 40,
}


@pytest.fixture(scope="module")
def system(kafka_bootstrap: str, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One `hil up` for this module, on the session's broker and a database of its own."""
    import asyncio

    name = f"t{uuid.uuid4().hex[:10]}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    url = urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    running = start(
        tmp_path_factory.mktemp("system"), HIL_KAFKA_BOOTSTRAP=kafka_bootstrap, HIL_DATABASE_URL=url, HIL_PARTITIONS="4"
    )
    running.addresses["database_url"] = url  # with its password, which `hil up` does not print
    yield running
    assert running.stop() == 0, running.log.read_text()[-4000:]
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


def for_(values: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [value for value in values if value["conversation_id"].startswith(prefix)]


async def test_every_message_gets_exactly_one_response_with_its_intent(system: System, unique: str):
    texts = {
        "order_status": "Where is my order #1003? It should have been here by now.",
        "return_request": "I want to return the shoes from order #1004, they do not fit.",
        "complaint": "This is outrageous, the parcel was broken and nobody answers. I am very angry.",
        "general_inquiry": "What are your opening hours?",
    }
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, [message(text, f"{unique}-{intent}", customer_id="c1") for intent, text in texts.items()])
        await reader.until(lambda values: len(for_(values, unique)) >= len(texts))
        await produce(system.bootstrap, [message("and one more", f"{unique}-last")])
        values = for_(await reader.until(lambda values: bool(for_(values, f"{unique}-last"))), unique)
    answers = {value["conversation_id"].removeprefix(f"{unique}-"): value for value in values}
    assert len(values) == len({value["id"] for value in values}) == len(texts) + 1
    for intent in texts:
        answer = answers[intent]
        assert (answer["status"], answer["error"]) == ("completed", None)
        assert answer["outputs"]["classify_intent"]["intent"] == intent
        assert answer["text"]
        assert answer["message_id"] == f"{unique}-{intent}-m1"
        executed = [entry["node"] for entry in answer["trace"] if entry["status"] == "executed"]
        assert executed[0] == "classify_intent"
        assert executed[-1] == "assemble_response"
        assert len(executed) == 3
        assert answer["cost_usd"] > 0


async def test_the_same_message_id_is_answered_once(system: System, unique: str):
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, [message("Where is order #1003?", unique)] * 3)
        await produce(system.bootstrap, [{"text": "thanks", "conversation_id": unique, "message_id": "m2"}], keys=[b"another"])
        values = for_(await reader.until(lambda values: any(v["message_id"] == "m2" for v in for_(values, unique))), unique)
        await produce(system.bootstrap, [{"text": "bye", "conversation_id": unique, "message_id": "m3"}])
        values = for_(await reader.until(lambda values: any(v["message_id"] == "m3" for v in for_(values, unique))), unique)
    ids = {value["id"]: value["message_id"] for value in values}
    assert sorted(ids.values()) == ["m2", "m3", f"{unique}-m1"]


async def test_bad_input_is_in_dead_letters_with_origin_and_words_and_the_next_record_is_answered(system: System, unique: str):
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, [*BAD.values(), message("hello", unique)], keys=[unique.encode()] * (len(BAD) + 1))
        answered = await reader.until(lambda values: bool(for_(values, unique)))
        letters = await reader.until(
            lambda values: sum(letter["record_key"] == unique for letter in values) >= len(BAD), topic="dead-letters"
        )
    mine = [letter for letter in letters if letter["record_key"] == unique]
    assert sorted(letter["code"] for letter in mine) == sorted(BAD)
    assert len({letter["offset"] for letter in mine}) == len(BAD)
    for letter in mine:
        assert (letter["topic"], letter["processor"]) == ("customer.messages", "hil.intake")
        assert len(letter["reason"].split()) >= 4, letter
        assert letter["payload_bytes"] == len(BAD[letter["code"]])
    assert for_(answered, unique)[0]["status"] == "completed"


@pytest.mark.parametrize("topic", ["conversation.events", "node.tasks.simple", "node.tasks.code"])
async def test_garbage_on_an_internal_topic_is_a_dead_letter_and_the_flow_goes_on(system: System, unique: str, topic: str):
    garbage = [b"", b"garbage", b"\xc3\x01\x00", b"\xc3\x01" + b"\x01" * 30, b'{"id": "x"}', b"\x00\x00\x00\x00\x07abc"]
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, garbage, topic=topic, keys=[unique.encode()] * len(garbage))
        await produce(system.bootstrap, [message("hello", unique)])
        await reader.until(lambda values: bool(for_(values, unique)))
        letters = await reader.until(
            lambda values: sum(letter["record_key"] == unique for letter in values) >= len(garbage), topic="dead-letters"
        )
    assert {letter["topic"] for letter in letters if letter["record_key"] == unique} == {topic}


async def test_three_turns_of_a_conversation_are_answered_in_order_with_history(system: System, unique: str):
    turns = ["What is your return policy?", "And how long does the refund take?", "Where is order #1003?"]
    async with reading(system.bootstrap) as reader:
        await produce(
            system.bootstrap,
            [{"text": text, "conversation_id": unique, "message_id": f"t{number}"} for number, text in enumerate(turns)],
            keys=[unique.encode()] * 3,
        )
        values = for_(await reader.until(lambda values: len(for_(values, unique)) >= 3), unique)
    assert [value["message_id"] for value in values] == ["t0", "t1", "t2"]
    assert [value for value in values if value["status"] != "completed"] == []


async def test_what_happened_is_in_postgres(system: System, unique: str):
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, [message("Where is my order #1003?", unique)])
        [value] = for_(await reader.until(lambda values: bool(for_(values, unique))), unique)
    connection = await asyncpg.connect(system.addresses["database_url"])
    try:
        row = None
        while row is None or row["status"] in (None, "running"):
            row = await connection.fetchrow(
                "SELECT status, cost_micro_usd FROM workflow_executions WHERE run_id::text = $1", value["run_id"]
            )
        assert row["status"] == "completed"
        assert row["cost_micro_usd"] == round(value["cost_usd"] * 1_000_000)
    finally:
        await connection.close()


def test_commands_in_the_same_folder_find_the_running_system(system: System, unique: str):
    data = system.log.parent
    line = json.dumps(message("hello", unique))
    sent = subprocess.run(hil("send", "-"), input=line.encode(), env=environ(data), capture_output=True, timeout=60)
    assert sent.returncode == 0, sent.stderr
    seen = subprocess.run(
        hil("watch", "customer.messages", "--from", "earliest", "--json", "--limit", "1"),
        env=environ(data),
        capture_output=True,
        timeout=60,
    )
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["topic"] == "customer.messages"


async def test_what_is_published_last_counts_and_a_start_does_not_bring_back_what_was_before(system: System, unique: str):
    """Of one name and version: the first content, another, and the first again, as somebody who takes a change back."""
    first, second = (system.log.parent / f"{unique}-{number}.yaml" for number in (1, 2))
    source = Path("workflows/parallel_answer.yaml").read_text(encoding="utf-8")
    first.write_text(source.replace("name: parallel_answer", f"name: {unique}", 1))
    second.write_text(first.read_text().replace("description:", "description: Changed.  #", 1))
    settings = Settings.from_environment(environ(system.log.parent))

    async def publish(path: Path, *, once: bool = False) -> str:
        await publish_files(system.bootstrap, [str(path)], settings, once=once)
        [digest] = [each.digest for each in await list_published(system.bootstrap) if each.name == unique]
        return digest

    before, changed = await publish(first), await publish(second)
    assert before != changed
    assert await publish(first, once=True) == changed
    assert await publish(first) == before
    assert await publish(second) == changed


def test_a_command_without_a_running_system_says_what_to_do(tmp_path: Any):
    done = subprocess.run(hil("watch", "customer.responses"), env=environ(tmp_path), capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"hil up" in done.stderr


def test_ctrl_c_ends_a_watch_at_once(system: System):
    process = subprocess.Popen(
        hil("watch", "customer.messages", "--from", "earliest", "--json"),
        env=environ(system.log.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
