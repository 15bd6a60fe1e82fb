"""`hil replay`, `hil rebuild` and `hil dead-letters` on a running system, as an operator types them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from connectors.postgres.pool import open_pool
from connectors.postgres.projection import progress
from streams.deadletters import KEPT_BYTES
from streams.projector import PROJECTED
from streams.replay.rebuild import taken
from streams.runtime.reading import Reader as LogReader
from tests.support.system import PATIENCE_SECONDS, System, environ, hil, message, produce, reading, start

pytestmark = pytest.mark.xdist_group("replay")

TABLES = (
    "workflow_registry",
    "conversations",
    "messages",
    "workflow_executions",
    "agent_executions",
    "llm_routing_decisions",
    "composio_action_usage",
    "human_tasks",
    "dead_letters",
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with a broker of its own: what is verified and rebuilt is the whole log."""
    running = start(tmp_path_factory.mktemp("replay"), HIL_PARTITIONS="2")
    yield running
    assert running.stop() == 0, running.log.read_text()[-4000:]


def type_(system: System, *arguments: str, code: int = 0) -> str:
    """What a command prints; it must end with `code`."""
    done = subprocess.run(hil(*arguments), env=environ(system.log.parent), capture_output=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode() + (done.stderr.decode() if code else "")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def answered(system: System, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Send messages and return their responses."""
    wanted = {(sent["conversation_id"], sent["message_id"]) for sent in messages}
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, messages, keys=[sent["conversation_id"].encode() for sent in messages])
        found = await reader.until(lambda values: wanted <= {(v["conversation_id"], v["message_id"]) for v in values})
    return [value for value in found if (value["conversation_id"], value["message_id"]) in wanted]


async def buried(system: System, count: int, *values: bytes, key: bytes) -> None:
    """Send records nobody can handle, and wait for their letters."""
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, values, keys=[key] * len(values))
        await reader.until(
            lambda letters: sum(letter["record_key"] == key.decode() for letter in letters) >= count, topic="dead-letters"
        )


async def rows(system: System) -> dict[str, list[str]]:
    connection = await asyncpg.connect(system.addresses["database_url"])
    try:
        return {
            table: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")] for table in TABLES
        }
    finally:
        await connection.close()


async def settled_rows(system: System) -> dict[str, list[str]]:
    """The tables once everything that is in the log now has been copied: the projector is a moment behind."""
    reader = LogReader(system.bootstrap, PROJECTED)
    await reader.start()
    try:
        ends = await reader.ends()
        async with asyncio.timeout(PATIENCE_SECONDS), await open_pool(system.addresses["database_url"]) as pool:
            while not await taken(reader, await progress(pool), ends):
                await asyncio.sleep(0.05)
    finally:
        await reader.stop()
    return await rows(system)


async def test_verification_finds_no_difference_in_what_the_system_decided(system: System, unique: str, tmp_path: Path):
    sent = [message("Where is order #1003?", f"{unique}-{number}") for number in range(4)]
    await answered(system, *sent, *(message("And the refund?", f"{unique}-1") | {"message_id": "again"},))
    [live] = lines(type_(system, "replay", "verify", "--json"))
    assert live["difference"] is None
    assert live["digests"] >= 5
    file = tmp_path / "history.jsonl.gz"
    type_(system, "replay", "record", str(file), "--conversation", f"{unique}-1", "--conversation", f"{unique}-2")
    [recorded] = lines(type_(system, "replay", "--verify", str(file), "--json"))
    assert (recorded["difference"], recorded["conversations"], recorded["digests"]) == (None, 2, 3)


async def test_a_period_is_half_open_and_needs_no_command_name(system: System, unique: str):
    [response] = await answered(system, message("hello", unique))
    view = ("replay", "conversation.events", "--conversation", unique, "--format", "json")
    events = lines(type_(system, *view))
    assert [event["type"] for event in events] == ["hil.message.received", *["hil.node.completed"] * 3]
    first, second = events[0], events[1]
    between = lines(type_(system, *view, "--from", str(first["offset"]), "--to", str(second["offset"])))
    assert [event["offset"] for event in between] == [first["offset"]]
    later = lines(type_(system, *view, "--from", str(second["timestamp_ms"])))
    assert first["offset"] not in [event["offset"] for event in later]
    raw = type_(system, "replay", "view", "customer.responses", "--key", unique, "--format", "raw", "--limit", "1")
    assert json.loads(raw)["id"] == response["id"]


async def test_a_run_is_run_again_from_a_node_and_its_log_still_verifies(system: System, unique: str):
    [first] = await answered(system, message("Where is order #1003?", unique))
    [second] = lines(type_(system, "replay", "rerun", first["run_id"], "--from", "assemble_response", "--wait", "60"))
    assert (second["status"], second["message_id"]) == ("completed", first["message_id"])
    assert second["run_id"] != first["run_id"]
    assert second["outputs"]["classify_intent"] == first["outputs"]["classify_intent"]
    attempts = {entry["node"]: entry["attempts"] for entry in second["trace"] if entry["status"] == "executed"}
    assert attempts == {"classify_intent": 0, "handle_order_status": 0, "assemble_response": 1}
    assert "begin at" in type_(system, "replay", "rerun", first["run_id"], "--from", "handle_return", code=1)
    assert "no run" in type_(system, "replay", "rerun", "nonsense", "--from", "a", code=1)
    assert "no difference" in type_(system, "replay", "verify")


async def test_a_retried_letter_keeps_its_id_and_origin(system: System, unique: str):
    """The message has no id of its own: the one derived from its first place is the one it would have had."""
    key = unique.encode()
    await buried(system, 1, json.dumps({"text": "hi", "conversation_id": unique, "workflow": unique}).encode(), key=key)
    [letter] = lines(type_(system, "dead-letters", "list", "--conversation", unique, "--json"))
    assert (letter["code"], letter["settled"]) == ("unknown_workflow", None)
    assert "would be retried" in type_(system, "dead-letters", "retry", letter["id"][:13], "--dry-run")
    file = system.log.parent / f"{unique}.yaml"
    source = Path("workflows/parallel_answer.yaml").read_text(encoding="utf-8")
    file.write_text(source.replace("name: parallel_answer", f"name: {unique}", 1))
    type_(system, "workflows", "publish", str(file))
    async with reading(system.bootstrap) as reader:
        type_(system, "dead-letters", "retry", "--conversation", unique, "--note", "published now")
        [response] = await reader.until(lambda values: any(value["conversation_id"] == unique for value in values))
    origin = f"customer.messages-{letter['partition']}-{letter['offset']}"
    assert response["message_id"] == origin
    type_(system, "dead-letters", "retry", "--conversation", unique, code=1)  # none is open any more
    [again] = lines(type_(system, "dead-letters", "list", "--conversation", unique, "--all", "--json"))
    assert (again["settled"]["action"], again["settled"]["note"]) == ("retried", "published now")
    type_(system, "dead-letters", "retry", letter["id"], "--again")
    [event] = lines(type_(system, "replay", "conversation.events", "--conversation", unique, "--limit", "1", "--format", "json"))
    assert event["value"]["origin"] == origin


async def test_a_letter_that_kept_only_part_of_its_record_is_retried_from_the_topic(system: System, unique: str):
    """It fails once more, for the same reason, with all of its bytes."""
    size = KEPT_BYTES + 1_000_000
    await buried(system, 1, b'{"text": "' + b"x" * size + b'"}', key=unique.encode())
    [letter] = lines(type_(system, "dead-letters", "list", "--json", "--code", "too_large"))
    async with reading(system.bootstrap) as reader:
        type_(system, "dead-letters", "retry", letter["id"])
        await reader.until(lambda values: any(v.get("code") == "too_large" for v in values), topic="dead-letters")
    [second] = lines(type_(system, "dead-letters", "list", "--json", "--code", "too_large"))
    assert (second["size"], second["retry_of"]) == (letter["size"], letter["id"])
    type_(system, "dead-letters", "discard", second["id"])
    assert not lines(type_(system, "dead-letters", "list", "--json", "--code", "too_large"))
    assert json.loads(type_(system, "dead-letters", "show", second["id"]))["settled"]["action"] == "discarded"


async def test_a_letter_whose_key_was_cut_off_is_retried_with_all_of_it(system: System, unique: str):
    """And with every header, of which a letter keeps the first 64. It fails once more, as the same record."""
    key = unique.encode() + b"k" * 5_000
    async with reading(system.bootstrap, ("customer.messages", "dead-letters")) as reader:

        async def letters(count: int) -> None:
            def enough(letters: list[dict[str, Any]]) -> bool:
                return sum(str(letter["record_key"]).startswith(unique) for letter in letters if "code" in letter) >= count

            await reader.until(enough, topic="dead-letters")

        await produce(system.bootstrap, [b"{"], keys=[key])
        await letters(1)
        [letter] = [each for each in lines(type_(system, "dead-letters", "list", "--json")) if each["key"].startswith(unique)]
        type_(system, "dead-letters", "retry", letter["id"])
        await letters(2)
        sent = [record for record in reader.records if record.topic == "customer.messages" and record.key == key]
    assert [record.value for record in sent] == [b"{", b"{"]


async def test_a_record_is_copied_with_where_it_came_from_and_never_into_our_own_topics(system: System, unique: str):
    await answered(system, message("hello", unique))
    for target in ("customer.messages", "conversation.events", "customer.responses"):
        type_(system, "replay", "republish", "customer.messages", target, code=1)
    assert "no topic" in type_(system, "replay", "republish", "customer.messages", unique, code=1)
    dry = type_(system, "replay", "republish", "customer.messages", "customer.messages", "--dry-run", code=1)
    assert "itself" in dry


async def test_a_rebuild_beside_a_running_projector_gives_the_same_rows(system: System, unique: str):
    await buried(system, 1, b"garbage", key=f"{unique}-garbage".encode())
    await answered(system, message("Where is order #1003?", unique), message("hello", f"{unique}-2"))
    before = await settled_rows(system)
    assert sum(unique in row for row in before["messages"]) == 4
    assert "rebuilt" in type_(system, "rebuild", "--accept-loss")
    assert await rows(system) == before
    [response] = await answered(system, message("and another", f"{unique}-3"))
    after = await settled_rows(system)
    assert sum(response["run_id"] in row for row in after["messages"]) == 2
    assert all(set(before[table]) <= set(after[table]) for table in TABLES), "the projector went on from there"
    assert system.process.poll() is None
