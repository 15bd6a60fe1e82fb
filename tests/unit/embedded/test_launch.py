"""Postgres runs unprivileged even where root is all there is, and nothing on the way is opened up for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[3] / "connectors" / "embedded" / "launch.py"
ROOT_ON_LINUX = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="about root on Linux")
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def launched(*options: str, program: list[str]) -> str:
    """What a launched program prints."""
    arguments = ["--parent", str(os.getpid()), "--signal", str(int(signal.SIGTERM)), *options]
    done = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCH, *arguments, "--", *program], capture_output=True, text=True, check=True
    )
    return done.stdout


def capabilities(status: str) -> set[int]:
    """Every capability in any of a process's sets."""
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Cap")}
    return {bit for name in CAPABILITY_SETS for bit in range(64) if sets[name] >> bit & 1}


@ROOT_ON_LINUX
def test_an_open_path_needs_no_capability() -> None:
    """The program is an ordinary process of that user."""
    status = launched("--user", "65534:65534", "--reach", "/usr", program=["/bin/cat", "/proc/self/status"])
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert "Groups:\t \n" in status
    assert capabilities(status) == set()


@ROOT_ON_LINUX
def test_a_closed_path_is_reached_with_one_capability_and_stays_closed(tmp_path: Path) -> None:
    """A virtualenv below /root, a 0700 temporary folder: read past, not opened."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").write_text("read")
    reach = ("--user", "65534:65534", "--reach", str(closed))
    assert launched(*reach, program=["/bin/cat", str(closed / "file")]) == "read"
    assert len(capabilities(launched(*reach, program=["/bin/cat", "/proc/self/status"]))) == 1
    assert closed.stat().st_mode & 0o777 == 0o700


@ROOT_ON_LINUX
def test_a_closed_path_answers_to_access_too(tmp_path: Path) -> None:
    """initdb looks for its server with access(2), which by default ignores capabilities of whoever is not root."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").touch(mode=0o755)
    ask = f"import os; print(os.access({str(closed / 'file')!r}, os.R_OK | os.X_OK))"
    reach = ("--user", "65534:65534", "--reach", str(closed))
    assert launched(*reach, program=[sys.executable, "-I", "-S", "-c", ask]) == "True\n"


def test_a_program_whose_parent_is_already_gone_does_not_start() -> None:
    """Between fork and asking the kernel, the parent may die."""
    arguments = ["--parent", "1", "--signal", "15", "--", "/bin/echo", "started"]
    done = subprocess.run([sys.executable, "-I", "-S", LAUNCH, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout == ("" if sys.platform == "linux" else "started\n")
