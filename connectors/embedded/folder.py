"""The data folder: where everything lies, who holds it, and what a crashed start left running in it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from connectors.embedded.errors import EmbeddedError, about_folder

NEEDED_BYTES = 300 * 1024 * 1024
"""Room for an empty broker, an empty database and their first logs."""
PATIENCE_SECONDS = 30.0
LEFTOVER_SECONDS = 10.0
Report = Callable[[str], None]


class Folder:
    """One data folder, held by one start at a time. Use `claim` to get one and `release` to give it back."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock
        """An open file whose flock means: somebody runs here. The guard shares it until its children have ended."""
        self.record = path / "children.json"
        self.logs = path / "logs"

    @classmethod
    async def claim(cls, path: Path, report: Report) -> Folder:
        """Create the folder if need be and take its lock. Raises EmbeddedError naming who holds it."""
        try:
            path = _prepared(path)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise about_folder(error, path) from error
        try:
            await _take(lock, path, report)
            folder = cls(path, lock)
            await folder._end_leftovers(report)
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        except OSError as error:
            os.close(lock)
            raise about_folder(error, path) from error
        except BaseException:
            os.close(lock)
            raise
        return folder

    def release(self) -> None:
        """Let the next start have it."""
        os.close(self.lock)

    def fresh_log(self, name: str) -> Path:
        """A log file for this start; the one of the start before is kept beside it as `.1`."""
        log = self.logs / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):
            log.replace(log.with_suffix(".log.1"))
        return log

    async def _end_leftovers(self, report: Report) -> None:
        """End what a killed guard left behind: recorded pids that still run a program of ours on this very folder."""
        import psutil  # part of the extra

        left = []
        for pid in recorded(self.record):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if any(str(self.path) in word for word in process.cmdline()):  # else the number went to somebody else
                    left.append(process)
        if left:
            report("Ending what an earlier start left running")
        for sent in (signal.SIGINT, signal.SIGKILL):
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(sent)
            _, left = await asyncio.to_thread(psutil.wait_procs, left, LEFTOVER_SECONDS)
        self.record.unlink(missing_ok=True)


def recorded(record: Path) -> list[int]:
    """Pids the guard left in its record; none if it ended properly."""
    try:
        pids = json.loads(record.read_text())["children"].values()
        return [pid for pid in pids if isinstance(pid, int)]
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        return []


def _prepared(path: Path) -> Path:
    path = path.absolute()
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and os.stat(path).st_uid == 0:
        # The database runs as another user then, who must be able to pass; what is inside stays closed.
        path.chmod(0o711)
    for inside in (path / "logs", path / "kafka"):
        inside.mkdir(mode=0o700, exist_ok=True)
    (path / "postgres").mkdir(mode=0o711, exist_ok=True)
    (path / ".gitignore").write_text("*\n")
    with tempfile.TemporaryFile(dir=path) as probe:
        probe.write(b"0" * 65536)  # a full disk may take empty files
    free = shutil.disk_usage(path).free
    if free < NEEDED_BYTES and not (path / "postgres" / "data").exists():
        raise EmbeddedError(
            f"The disk that holds {path} has {free // 2**20} MB left and a first start needs {NEEDED_BYTES // 2**20} MB: "
            "free some space, or set HIL_DATA to a folder on another disk."
        )
    return path


async def _take(lock: int, path: Path, report: Report) -> None:
    """Take the flock. A dead owner's guard may still be ending its children: that is waited for."""
    told = False
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(lock)
            here = owner.get("host") in (None, socket.gethostname())
            late = asyncio.get_running_loop().time() > deadline
            if not here or late or (owner and _alive(owner.get("pid"))):
                place = "" if here else f" on host {owner['host']}"
                raise EmbeddedError(
                    f"{path} is in use by process {owner.get('pid', 'unknown')}{place}: stop that one first (Ctrl-C in "
                    f"its terminal, or `kill {owner.get('pid', 'PID')}`), or set HIL_DATA to another folder to run a second one."
                ) from None
            if not told:
                report("Waiting for an earlier start to end")
                told = True
            await asyncio.sleep(0.05)
        else:
            return


def _owner(lock: int) -> dict[str, object]:
    try:
        owner = json.loads(os.pread(lock, 4096, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "zombie"


def _state(pid: int) -> str:
    import psutil

    try:
        return str(psutil.Process(pid).status())
    except psutil.Error:
        return "gone"
