"""No address is put into words with its password: wherever one is named, in every way it can go wrong."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.errors import NodeFailure
from connectors.composio.client import ComposioClient, ComposioSettings
from connectors.embeddings import EmbeddingsError, configured_embedder
from connectors.postgres.errors import StorageError
from connectors.postgres.pool import _shown, open_pool
from connectors.settings import VARIABLES, Settings, SettingsError
from streams.app.system import RUNNING_FILE, _addresses, _announce

PASSWORD = "s3cr3t"
NAMES = {
    *("HIL_DEFAULT_WORKFLOW", "HIL_INSTANCE", "HIL_MESSAGE_WORKFLOWS"),
    *(f"HIL_MODEL_{name}" for name in ("FAST", "BALANCED", "POWERFUL")),
}
"""Any text is one of these: no address."""


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port of this machine at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("variable", sorted(VARIABLES - {"HIL_DATA"}))
@pytest.mark.parametrize(
    "value",
    [
        f"postgresql://hil:{PASSWORD}@db:5432/hil",
        f"redis://hil:{PASSWORD}@db/1",
        f"hil:{PASSWORD}@kafka:9092",
        f"SASL_SSL://hil:{PASSWORD}@kafka:9092",
        f"https://host:nan/?key={PASSWORD}",
        f"postgresql://hil:{PASSWORD}/x@db:5432/hil",
    ],
)
def test_no_fault_of_a_setting_repeats_a_password(variable: str, value: str):
    try:
        said = repr(Settings.from_environment({variable: value}))
    except SettingsError as error:
        said = f"{error} {error!r} {error.faults}"
    assert PASSWORD not in said or variable in NAMES


def test_a_kafka_address_has_no_user():
    with pytest.raises(SettingsError, match="HIL_KAFKA_BOOTSTRAP holds an @: write host:port alone"):
        Settings.from_environment({"HIL_KAFKA_BOOTSTRAP": f"hil:{PASSWORD}@kafka:9092"})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://hil:{password}@127.0.0.1:{port}/hil",
        "postgresql://hil:{password}@127.0.0.1:{port}/hil?password={password}",
        "postgresql://hil:x/{password}@127.0.0.1:{port}/hil",
        "postgresql://hil:x#{password}@127.0.0.1:{port}/hil",
        "postgresql://hil:{password}@127.0.0.1:{port}/hil?sslmode=nonsense",
        "postgresql://hil:{password}@127.0.0.1:nan/hil",
        "mysql://hil:{password}@127.0.0.1:{port}/hil",
    ],
)
async def test_no_error_of_the_database_repeats_a_password(url: str, nobody: int):
    with pytest.raises(StorageError) as raised:
        await open_pool(url.format(password=PASSWORD, port=nobody))
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("url", ["http://me:{password}@127.0.0.1:{port}/v1", "http://127.0.0.1:{port}/v1?key={password}"])
async def test_no_error_of_an_endpoint_of_embeddings_repeats_a_password(url: str, nobody: int):
    address = url.format(password=PASSWORD, port=nobody)
    given = {"HIL_EMBEDDINGS_MODEL": "m", "HIL_EMBEDDINGS_BASE_URL": address, "HIL_EMBEDDINGS_API_KEY": PASSWORD}
    embedder = configured_embedder(given)
    embedder._client.max_retries = 0  # type: ignore[union-attr]
    with pytest.raises(EmbeddingsError) as raised:
        await embedder.embed(["x"])
    await embedder.close()  # type: ignore[union-attr]
    assert PASSWORD not in str(raised.value)
    assert PASSWORD not in embedder.name


@pytest.mark.parametrize("url", ["http://me:{password}@127.0.0.1:{port}", "http://127.0.0.1:{port}?api_key={password}"])
async def test_no_error_of_a_tool_server_repeats_a_password(url: str, nobody: int):
    async with ComposioClient(ComposioSettings(url.format(password=PASSWORD, port=nobody), PASSWORD)) as client:
        with pytest.raises(NodeFailure) as raised:
            await client.tools("shopify")
    assert PASSWORD not in str(raised.value)


def test_a_password_with_a_slash_is_not_taken_for_a_database():
    assert PASSWORD not in _shown(f"postgresql://hil:1/{PASSWORD}@127.0.0.1:5432/hil")
    with pytest.raises(SettingsError):
        Settings.from_environment({"HIL_DATABASE_URL": f"postgresql://hil:1/{PASSWORD}@127.0.0.1:5432/hil"})


def told(given: Settings, known: Settings, folder: Path) -> tuple[str, str]:
    """What `hil up --json` and running.json say."""
    from dataclasses import asdict

    addresses = _addresses(known, given, stand_in=False)
    _announce(folder, addresses)
    return json.dumps(asdict(addresses)), (folder / RUNNING_FILE).read_text()


def test_an_address_that_was_configured_is_told_without_its_credentials(tmp_path: Path):
    url = f"postgresql://hil:{PASSWORD}@db:5432/hil"
    settings = Settings(database_url=url, composio_base_url=f"https://me:{PASSWORD}@tools.example", data=tmp_path)
    for said in told(settings, settings, tmp_path):
        assert PASSWORD not in said
        assert "postgresql://db:5432/hil" in said


def test_the_embedded_database_is_told_whole_to_its_owner_alone(tmp_path: Path):
    """Its password was made here, and this is how one gets in."""
    url = f"postgresql://hil:{PASSWORD}@127.0.0.1:5432/hil"
    assert all(url in said for said in told(Settings(data=tmp_path), Settings(data=tmp_path, database_url=url), tmp_path))
    assert (tmp_path / RUNNING_FILE).stat().st_mode & 0o077 == 0
