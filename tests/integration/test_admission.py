"""What a record claims of its time, on a running system."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from connectors.settings import Settings
from streams.app.publishing import publish_files
from tests.support.system import System, environ, message, produce, reading, start

MINUTE_MS, DAY_MS = 60_000, 86_400_000
NODE = (
    "{{id: answer, agent: simple_response_generator, config: {{model_profile: fast}}, prompt_template: '{{{{ text }}}}'{more}}}"
)
KINDS = {
    "run": ("timeout_seconds: 60", ""),
    "node": ("", ", timeout_seconds: 30"),
    "one": ("", ", timeout_seconds: 30, retry: {max_attempts: 1}"),
    "budget": ("cost_controls: {daily_budget: 100}", ""),
}
"""Workflow → what it says of itself, and of its node."""


@pytest.fixture(scope="module")
def system(kafka_bootstrap: str, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    name = f"t{uuid.uuid4().hex[:10]}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    url = urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    data = tmp_path_factory.mktemp("system")
    running = start(data, HIL_KAFKA_BOOTSTRAP=kafka_bootstrap, HIL_DATABASE_URL=url, HIL_PARTITIONS="4")
    running.addresses["database_url"] = url  # with its password, which `hil up` does not print
    yield running
    assert running.stop() == 0, running.log.read_text()[-4000:]
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


async def publish(system: System, prefix: str) -> None:
    """The four workflows, under names that begin with `prefix`."""
    files = []
    for kind, (said, more) in KINDS.items():
        path = Path(system.log.parent) / f"{prefix}-{kind}.yaml"
        node = NODE.format(more=more)
        path.write_text(f"name: {prefix}-{kind}\nversion: 1.0.0\n{said}\nworkflow: {{nodes: [{node}]}}\n")
        files.append(str(path))
    await publish_files(system.bootstrap, files, Settings.from_environment(environ(system.log.parent)), once=False)


async def test_messages_are_answered_on_this_day_and_at_the_first_attempt_whatever_their_records_say_of_the_time(system: System):
    unique, now_ms = uuid.uuid4().hex[:8], int(time.time() * 1000)
    stamps = [now_ms - 10 * MINUTE_MS, 1, now_ms - 100 * DAY_MS, now_ms + 50 * MINUTE_MS]
    await publish(system, unique)
    asked = [
        (message("How are you?", f"{unique}-{kind}-{at}", workflow=f"{unique}-{kind}"), stamp)
        for kind in KINDS
        for at, stamp in enumerate(stamps)
    ]
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, [value for value, _ in asked], stamped_ms=[stamp for _, stamp in asked])
        found = await reader.until(lambda values: len(mine(values, unique)) >= len(asked))
    answers = mine(found, unique)
    assert {(answer["status"], answer["error"], answer["trace"][0]["attempts"]) for answer in answers} == {("completed", None, 1)}
    assert max(answer["duration_ms"] for answer in answers) < 10 * MINUTE_MS
    days = await periods(system, f"workflow {unique}-budget")
    assert days <= {day_of(now_ms), day_of(int(time.time() * 1000))}
    assert days


def mine(values: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [value for value in values if value["conversation_id"].startswith(prefix)]


def day_of(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_ms / 1000))


async def periods(system: System, scope: str) -> set[str]:
    """The days on which something was spent, or held, of the budgets of this scope."""
    connection = await asyncpg.connect(system.addresses["database_url"])
    try:
        return {row["period"] for row in await connection.fetch("SELECT period FROM budget_periods WHERE scope = $1", scope)}
    finally:
        await connection.close()
