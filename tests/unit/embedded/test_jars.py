"""Kafka's jars: what is pinned is what runs."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from connectors.embedded import jars
from connectors.embedded.errors import EmbeddedError

CONTENTS = {f"org.example:part-{number}:1.{number}": bytes([number]) * 50_000 for number in range(3)}


@dataclass
class Registry:
    """A Maven repository on loopback."""

    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    stall: threading.Event | None = None
    """When set: send half a file, then wait for this."""


def path_of(coordinate: str) -> str:
    group, artifact, version = coordinate.split(":")
    return f"/{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Serves CONTENTS; pins and jgo's configuration name it, with an empty cache."""
    state = Registry({path_of(coordinate): content for coordinate, content in CONTENTS.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = state.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("content-length", str(len(content or b"")))
            self.end_headers()
            if content and state.stall:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                state.stall.wait(60)
            elif content:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    configuration = tmp_path / "jgo.conf"
    configuration.write_text(f"[repositories]\nlocal = http://127.0.0.1:{server.server_port}\n")
    pins = tmp_path / "pins"
    lines = [f"{hashlib.sha256(content).hexdigest()} {len(content)} {coordinate}" for coordinate, content in CONTENTS.items()]
    pins.write_text("# a comment\n" + "\n".join(lines))
    monkeypatch.setattr(jars, "PINS", pins)
    monkeypatch.setenv("JGO_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield state
    if state.stall:
        state.stall.set()
    server.shutdown()
    thread.join()
    server.server_close()


async def test_missing_jars_are_fetched_once_and_reported(registry: Registry) -> None:
    """The second start asks the network for nothing."""
    told: list[str] = []
    paths = await jars.class_path(told.append)
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    assert told[0].endswith("(0.1 MB, once)")
    assert told[-1].startswith("Fetched Kafka: 0.1 MB in")
    registry.asked.clear()
    told.clear()
    assert await jars.class_path(told.append) == paths
    assert (registry.asked, told) == ([], [])


async def test_a_damaged_jar_is_fetched_again_and_only_that_one(registry: Registry) -> None:
    """A download that was cut off, a disk that lost a block."""
    paths = await jars.class_path(lambda _: None)
    paths[1].write_bytes(b"half")
    registry.asked.clear()
    assert [path.read_bytes() for path in await jars.class_path(lambda _: None)] == list(CONTENTS.values())
    assert {asked.removesuffix(".sha1") for asked in registry.asked} == {path_of("org.example:part-1:1.1")}


async def test_another_file_under_the_pinned_name_is_refused(registry: Registry, tmp_path: Path) -> None:
    """A registry or a proxy that serves something else does not get it executed."""
    registry.files[path_of("org.example:part-1:1.1")] = b"something else"
    with pytest.raises(EmbeddedError, match=r"part-1:1.1 was downloaded with sha256 .*It was not used"):
        await jars.class_path(lambda _: None)
    assert not list((tmp_path / "m2").rglob("part-1-*.jar"))


async def test_a_registry_without_the_jar_is_told_as_such(registry: Registry) -> None:
    """With the ways out."""
    del registry.files[path_of("org.example:part-2:1.2")]
    with pytest.raises(EmbeddedError, match=r"(?s)part-2.* not found .*HIL_KAFKA_BOOTSTRAP"):
        await jars.class_path(lambda _: None)


async def test_a_registry_that_cannot_be_reached_is_told_with_the_ways_out(registry: Registry, tmp_path: Path) -> None:
    """Without the wrappings of the HTTP libraries."""
    (tmp_path / "jgo.conf").write_text("[repositories]\nclosed = http://127.0.0.1:9\n")
    with pytest.raises(EmbeddedError) as caught:
        await jars.class_path(lambda _: None)
    first, ways_out = str(caught.value).splitlines()
    assert first.startswith("Kafka cannot be fetched: http://127.0.0.1:9 cannot be reached (")
    assert "refused" in first
    assert len(first) < 150
    assert all(way in ways_out for way in ("HTTPS_PROXY", "[repositories]", str(tmp_path / "m2"), "HIL_KAFKA_BOOTSTRAP"))


async def test_an_interrupted_fetch_ends_at_once_and_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    """Ctrl-C while a slow registry has sent half of each file."""
    registry.stall = threading.Event()
    began = asyncio.Event()
    fetching = asyncio.create_task(jars.class_path(lambda words: began.set() if "%" in words else None))
    await began.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert list((tmp_path / "m2").iterdir()) == []


async def test_a_cache_that_cannot_be_written_is_named(registry: Registry, tmp_path: Path) -> None:
    """M2_REPO is the way out, not HIL_DATA."""
    (tmp_path / "m2").write_text("a file in the way")
    with pytest.raises(EmbeddedError, match="M2_REPO"):
        await jars.class_path(lambda _: None)


def test_the_checked_in_pins_are_one_kafka() -> None:
    """All of the broker's own jars are of one version, none is listed twice, and a logger is among them."""
    pins = jars.pinned()
    assert {pin.coordinate.split(":")[2] for pin in pins if pin.coordinate.startswith("org.apache.kafka:")} == {"4.1.1"}
    assert len({pin.coordinate.rsplit(":", 1)[0] for pin in pins}) == len(pins)
    assert all(len(pin.sha256) == 64 and pin.size > 0 for pin in pins)
    assert any(":log4j-slf4j-impl:" in pin.coordinate for pin in pins)
