"""Kafka's jars: pinned by `kafka.sha256`, fetched once for each user, checked at each start."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from connectors.embedded.errors import EmbeddedError, about_folder
from schemas.environment import DOWNLOADING, child_environment

PINS = Path(__file__).with_name("kafka.sha256")
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pin:
    """One jar: its digest, its size in bytes, and where a Maven repository keeps it."""

    sha256: str
    size: int
    coordinate: str

    @classmethod
    def parse(cls, line: str) -> Pin:
        digest, size, coordinate = line.split()
        return cls(digest, int(size), coordinate)

    def __str__(self) -> str:
        return f"{self.sha256} {self.size} {self.coordinate}"

    def inside(self, repository: Path) -> Path:
        """The jar's path, by Maven's layout of folders."""
        group, artifact, version = self.coordinate.split(":")
        return repository.joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")

    def sound(self, repository: Path) -> bool:
        """Whether the jar is there, whole and the one that was pinned."""
        try:
            with self.inside(repository).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def pinned() -> list[Pin]:
    """The checked-in list, in class path order."""
    return [Pin.parse(line) for line in PINS.read_text().splitlines() if line and not line.startswith("#")]


def repository() -> Path:
    """jgo's repository folder: that of Maven, unless M2_REPO or jgo's own configuration name another."""
    from jgo.config import GlobalSettings

    return Path(GlobalSettings.load().repo_cache).expanduser().absolute()


async def class_path(report: Report) -> list[Path]:
    """Paths of all jars, after fetching those that are missing or damaged. Raises EmbeddedError in words."""
    pins = pinned()
    folder = await asyncio.to_thread(repository)
    try:
        missing = await asyncio.to_thread(lambda: [pin for pin in pins if not pin.sound(folder)])
    except OSError as error:
        raise EmbeddedError(
            f"{error.filename or folder} cannot be read ({error.strerror}): give yourself access, or set M2_REPO to another one."
        ) from error
    if missing:
        await _fetch(missing, folder, report)
    return [pin.inside(folder) for pin in pins]


async def _fetch(pins: list[Pin], folder: Path, report: Report) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder, ignore_cleanup_errors=True) as partial:
            await _run_fetch(pins, folder, Path(partial), report)
    except OSError as error:
        raise EmbeddedError(str(about_folder(error, folder)).replace("HIL_DATA", "M2_REPO")) from error


async def _run_fetch(pins: list[Pin], folder: Path, partial: Path, report: Report) -> None:
    total, so_far, began, told = sum(pin.size for pin in pins), 0, time.monotonic(), -math.inf
    report(f"Fetching Kafka into {folder} ({_mb(total)}, once)")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connectors.embedded.fetch", str(folder), str(partial)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(DOWNLOADING),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    fault: dict[str, object] = {}
    noise = asyncio.create_task(process.stderr.read())
    try:
        process.stdin.write("\n".join(map(str, pins)).encode())
        process.stdin.close()
        async for line in process.stdout:
            news = json.loads(line)
            if "error" in news:
                fault = news
                continue
            so_far += news["bytes"]
            if time.monotonic() - told > 1.0:
                told = time.monotonic()
                report(f"Fetching Kafka: {so_far * 100 // total} % of {_mb(total)}, {told - began:.0f} s")
        code = await process.wait()
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    finally:
        await process.wait()
        words = (await noise).decode(errors="replace").strip()
    if fault or code:
        raise _explain(fault, folder, words or f"exit {code}")
    report(f"Fetched Kafka: {_mb(total)} in {time.monotonic() - began:.1f} s")


def _explain(fault: dict[str, object], folder: Path, words: str) -> EmbeddedError:
    own = "run a Kafka of your own and set HIL_KAFKA_BOOTSTRAP"
    match fault.get("kind"):
        case "unreachable":
            return EmbeddedError(
                f"Kafka cannot be fetched: {fault['error']}\n"
                "Check the network (HTTPS_PROXY behind a proxy, SSL_CERT_FILE for certificates of your own) and "
                f"start again; or name a mirror in the [repositories] section of jgo's configuration (~/.config/jgo.conf); or "
                f"copy {folder} from a machine that has it; or {own}."
            )
        case "mismatch":
            return EmbeddedError(
                f"{fault['error']}. It was not used. The repository or a proxy on the way serves another file: try again, name "
                f"another repository in ~/.config/jgo.conf, or {own}."
            )
        case "folder":
            number = fault.get("errno")
            error = OSError(number if isinstance(number, int) else 0, str(fault["error"]), fault.get("path"))
            return EmbeddedError(str(about_folder(error, folder)).replace("HIL_DATA", "M2_REPO"))
        case _:
            return EmbeddedError(f"Kafka cannot be fetched: {words.splitlines()[-1]}. Start again, or {own}.")


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"
