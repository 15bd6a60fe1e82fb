"""Children end with their parent, however it goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from connectors.embedded.children import Children, Command
from connectors.embedded.errors import EmbeddedError

SECONDS = 20
CHILD = """
import signal, sys
def end(number, frame):
    open(sys.argv[1], "a").write(signal.Signals(number).name)
    if sys.argv[2] == "obedient":
        sys.exit(0)
for number in (signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, end)
open(sys.argv[1], "a").write("up ")
while True:
    signal.pause()
"""
PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
from connectors.embedded.children import Children, Command
async def main():
    folder = Path(sys.argv[1])
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    async with Children(folder / "children.json", folder / "guard.log", lock) as children:
        child = [sys.executable, "-c", sys.argv[2], str(folder / "said"), "obedient"]
        print(await children.start(Command("child", child, folder / "child.log")), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    """A file the guard may hold."""
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def command(folder: Path, manner: str) -> Command:
    """A child that writes down what it is told, and obeys or not."""
    argv = [sys.executable, "-c", CHILD, str(folder / "said"), manner]
    return Command("child", argv, folder / "child.log", halt=signal.SIGQUIT)


async def until(folder: Path, words: str) -> None:
    """Wait until the child has said so."""
    import asyncio

    async with asyncio.timeout(SECONDS):
        while not ((folder / "said").exists() and (folder / "said").read_text().startswith(words)):
            await asyncio.sleep(0.01)


async def test_leaving_the_block_ends_children_gently(tmp_path: Path, lock: int) -> None:
    """One SIGTERM, nothing more, when it is obeyed; and no record is left."""
    async with Children(tmp_path / "children.json", tmp_path / "guard.log", lock) as children:
        pid = await children.start(command(tmp_path, "obedient"))
        await until(tmp_path, "up")
    assert (tmp_path / "said").read_text() == "up SIGTERM"
    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "children.json").exists()


async def test_a_child_that_does_not_listen_is_told_firmly_and_then_ended(
    tmp_path: Path, lock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing survives the guard."""
    impatient = tmp_path / "guard.py"
    source = Path(sys.modules["connectors.embedded.children"].__file__ or "").with_name("guard.py")
    impatient.write_text(source.read_text().replace("PATIENCE_SECONDS = (10.0, 4.0, 2.0)", "PATIENCE_SECONDS = (0.3, 0.3, 5.0)"))
    (tmp_path / "launch.py").write_text(source.with_name("launch.py").read_text())
    monkeypatch.setattr("connectors.embedded.children.GUARD", impatient)
    async with Children(tmp_path / "children.json", tmp_path / "guard.log", lock) as children:
        pid = await children.start(command(tmp_path, "stubborn"))
        await until(tmp_path, "up")
    assert (tmp_path / "said").read_text() == "up SIGTERMSIGQUIT"
    assert not psutil.pid_exists(pid)


async def test_the_end_of_a_child_is_told_with_its_exit_code(tmp_path: Path, lock: int) -> None:
    """A broker that dies by itself must not go unnoticed."""
    async with Children(tmp_path / "children.json", tmp_path / "guard.log", lock) as children:
        code = await children.run(Command("child", [sys.executable, "-c", "raise SystemExit(7)"], tmp_path / "child.log"))
    assert code == 7


async def test_the_death_of_the_guard_is_told_and_takes_the_children_along(tmp_path: Path, lock: int) -> None:
    """On Linux the kernel sees to the second half."""
    async with Children(tmp_path / "children.json", tmp_path / "guard.log", lock) as children:
        pid = await children.start(command(tmp_path, "obedient"))
        await until(tmp_path, "up")
        child = psutil.Process(pid)
        child.parent().kill()
        with pytest.raises(EmbeddedError, match="guard of the embedded parts ended"):
            await children.ended("child")
        if sys.platform != "linux":
            child.kill()
        psutil.wait_procs([child], timeout=SECONDS)
        assert not child.is_running()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
async def test_children_end_when_the_parent_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    """No parent's last words are needed: the guard sees its own input end."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), CHILD], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    guard = child.parent()
    await until(tmp_path, "up")
    parent.send_signal(how)
    parent.wait(SECONDS)
    parent.stdout.close()
    _, alive = psutil.wait_procs([child, guard], timeout=SECONDS)
    assert alive == []
    assert (tmp_path / "said").read_text() == "up SIGTERM"


async def test_ctrl_c_in_the_terminal_does_not_reach_guard_or_children(tmp_path: Path, lock: int) -> None:
    """It goes to the terminal's foreground group; the parent decides what follows from it."""
    async with Children(tmp_path / "children.json", tmp_path / "guard.log", lock) as children:
        child = psutil.Process(await children.start(command(tmp_path, "obedient")))
        groups = {os.getpgid(child.pid), os.getpgid(child.ppid())}
    assert os.getpgid(0) not in groups
