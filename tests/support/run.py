"""One test run: a folder that its process and all its workers share, with at most one broker and one database in it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIABLE = "HIL_TEST_RUN"
START_SECONDS = 180.0
END_SECONDS = 30.0
PARTS = ("kafka", "postgres")
KEEPER = Path(__file__).with_name("keeper.py")
ROOT = Path(__file__).parents[2]


class Run:
    """Made by the process that was started; workers find it through the environment."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hil-tests-"))
        self._lock = os.open(self.folder / "run.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.environ[VARIABLE] = str(self.folder)

    def end(self) -> None:
        """Let the keepers go, wait for them, and remove the folder."""
        os.environ.pop(VARIABLE, None)
        os.close(self._lock)
        deadline = time.monotonic() + END_SECONDS
        for part in PARTS:
            held = self.folder / f"{part}.keeper"
            while held.exists() and not _free(held) and time.monotonic() < deadline:
                time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)


def address(part: str) -> str:
    """Where the run's `part` is; the first who asks starts it. Raises RuntimeError with why it did not start."""
    run = Path(os.environ[VARIABLE])
    answer = run / f"{part}.json"
    with (run / f"{part}.start").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # the others wait here, and then find the answer
        if not answer.exists():
            log = (run / f"{part}.log").open("wb")
            with log:
                keeper = subprocess.Popen(
                    [sys.executable, str(KEEPER), str(run), part],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    start_new_session=True,
                )
            deadline = time.monotonic() + START_SECONDS
            while not answer.exists():
                if keeper.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the tests' {part} did not start: {(run / f'{part}.log').read_text()}")
                time.sleep(0.02)
            keeper.returncode = 0  # it outlives this process on purpose: no ResourceWarning
    content = json.loads(answer.read_text())
    if "error" in content:
        raise RuntimeError(f"the tests' {part} did not start: {content['error']}")
    return str(content["address"])


def _free(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
