"""Fixtures for all tests: the run's broker and database, names of one's own, and the wall around the machine."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parents[1]))  # importlib mode leaves sys.path alone; `tests.support` is imported by name

pytest.register_assert_rewrite("tests.simulation.conformance.cases")

from tests.support import clock, run, wall  # noqa: E402
from tests.support.cluster import SOON, Cluster  # noqa: E402

settings.register_profile("untimed", deadline=None)  # how long an example takes says more of the machine than of the code
settings.load_profile("untimed")

RUN = pytest.StashKey[run.Run]()
CLOCK = pytest.StashKey[clock.Clock]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clock-at", type=float, help="Seconds the monotonic clock shows when a test begins: 0 is a machine just started."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Open the run in the process that was started; workers inherit it through the environment."""
    wall.raise_wall()
    # A run started in the background ignores these, and so would every program the tests interrupt or hang up on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if (start := config.getoption("clock_at")) is not None:
        config.stash[CLOCK] = clock.Clock(start)
        config.stash[CLOCK].install()
    if not hasattr(config, "workerinput"):
        config.stash[RUN] = run.Run()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that run whole deployments on the shared broker must run one after the other, in one worker."""
    apart = [item.nodeid for item in items if "@" not in item.nodeid and item.get_closest_marker("xdist_group")]
    if getattr(config.option, "loadgroup", False) and apart:
        raise pytest.UsageError(f"pytest-xdist has not grouped {apart[0]}: install the versions of requirements.lock")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the broker and the database, whatever happened."""
    if RUN in config.stash:
        config.stash[RUN].end()


@pytest.fixture(scope="session")
def kafka_bootstrap() -> str:
    """`host:port` of the run's Kafka: the one HIL_TEST_KAFKA names, else an embedded one shared by all workers.

    No topic is created by itself; use `unique` for names.
    """
    return os.environ.get("HIL_TEST_KAFKA") or run.address("kafka")


@pytest.fixture(scope="session")
def database_url() -> str:
    """URL of the run's Postgres server: the one HIL_TEST_DATABASE_URL names, else an embedded one shared by all workers.

    Tests write into a `database` of their own, not into the one this names.
    """
    return os.environ.get("HIL_TEST_DATABASE_URL") or run.address("postgres")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three brokers of the test's own that may be killed and frozen; no topic. Ready in some 5 s, 1.2 GiB while it runs.

    A silent broker is given up after 3 s instead of 9. Mark the tests `cluster` and put them in the xdist group `system`, so that
    there is one at a time.
    """
    async with Cluster(tmp_path / "cluster", settings=SOON) as brokers:
        yield brokers


@pytest.fixture
def unique() -> str:
    """A short name nobody else has: letters and digits, starts with a letter; good in topics, groups and SQL."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
async def database(database_url: str, unique: str) -> AsyncIterator[str]:
    """URL of an empty database of the test's own, gone after the test."""
    import asyncpg

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    await execute(f'CREATE DATABASE "{unique}"')
    yield urlunsplit(urlsplit(database_url)._replace(path=f"/{unique}"))
    await execute(f'DROP DATABASE "{unique}" WITH (FORCE)')


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the test's loop is made."""
    if CLOCK in item.config.stash:
        item.config.stash[CLOCK].begin()


@pytest.fixture(autouse=True)
def _nothing_outside() -> Iterator[None]:
    """A test that tries to leave the machine fails, even if the code under test survives the refusal."""
    wall.refused.clear()
    yield
    assert not wall.refused, f"reached for {', '.join(wall.refused)}: tests reach nothing but loopback"
