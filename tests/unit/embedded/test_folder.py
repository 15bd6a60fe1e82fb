"""The data folder: one start at a time, and nothing left running in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from connectors.embedded.errors import EmbeddedError
from connectors.embedded.folder import Folder

WAIT_FOREVER = "import signal, sys; print('up', flush=True); signal.pause()"


def quiet(_: str) -> None:
    """A report nobody reads."""


async def test_a_second_start_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    """With the pid, because that is what the user needs to stop it."""
    first = await Folder.claim(tmp_path, quiet)
    try:
        with pytest.raises(EmbeddedError, match=rf"in use by process {os.getpid()}: .*HIL_DATA"):
            await Folder.claim(tmp_path, quiet)
    finally:
        first.release()


async def test_a_released_folder_can_be_claimed_again(tmp_path: Path) -> None:
    """Data is kept between starts."""
    (await Folder.claim(tmp_path / "new" / "folder", quiet)).release()
    (await Folder.claim(tmp_path / "new" / "folder", quiet)).release()


async def test_a_dead_owners_lock_is_waited_for(tmp_path: Path) -> None:
    """Its guard holds the lock while the children end; a start right after a crash must succeed, not complain."""
    (await Folder.claim(tmp_path, quiet)).release()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print('up', flush=True); sys.stdin.read()",
            tmp_path / "lock",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdout.readline()
    (tmp_path / "lock").write_text(json.dumps({"pid": _dead_pid()}))
    told: list[str] = []

    def release_when_told(words: str) -> None:
        told.append(words)
        holder.stdin.close()  # type: ignore[union-attr]

    try:
        (await Folder.claim(tmp_path, release_when_told)).release()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert told == ["Waiting for an earlier start to end"]


async def test_left_over_children_are_ended(tmp_path: Path) -> None:
    """What a killed guard left behind is found by its recorded pid."""
    child = subprocess.Popen([sys.executable, "-c", WAIT_FOREVER, str(tmp_path / "kafka")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    (tmp_path / "children.json").write_text(json.dumps({"guard": 1, "children": {"kafka": child.pid}}))
    (await Folder.claim(tmp_path, quiet)).release()
    child.stdout.close()
    assert not psutil.pid_exists(child.pid)
    child.wait()
    assert not (tmp_path / "children.json").exists()


async def test_a_recorded_pid_that_went_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Pids are reused; only a program that works on this very folder is ours."""
    stranger = subprocess.Popen([sys.executable, "-c", WAIT_FOREVER], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    stranger.stdout.readline()
    (tmp_path / "children.json").write_text(json.dumps({"guard": 1, "children": {"kafka": stranger.pid}}))
    (await Folder.claim(tmp_path, quiet)).release()
    alive = psutil.Process(stranger.pid).status() != psutil.STATUS_ZOMBIE
    stranger.kill()
    stranger.wait()
    stranger.stdout.close()
    assert alive


@pytest.mark.parametrize("damage", ["", "garbage", "[]", '{"children": null}', '{"children": {"kafka": "x"}}'])
async def test_a_damaged_record_does_not_stop_a_start(tmp_path: Path, damage: str) -> None:
    """It was half written by a process that was killed; there is nothing in it to act on."""
    (tmp_path / "children.json").write_text(damage)
    (await Folder.claim(tmp_path, quiet)).release()


async def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """The message says which, and the way out."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match=r"file is not a folder: .*HIL_DATA"):
        await Folder.claim(tmp_path / "file", quiet)


async def test_too_small_a_disk_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that runs out of disk while it is made would be half a database."""
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 5 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(EmbeddedError, match=r"5 MB left .*HIL_DATA"):
        await Folder.claim(tmp_path, quiet)


async def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC at any write becomes words."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(EmbeddedError, match="is full: free some space"):
        await Folder.claim(tmp_path, quiet)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_one_may_not_write_is_named(tmp_path: Path) -> None:
    """With the way out."""
    tmp_path.chmod(0o500)
    with pytest.raises(EmbeddedError, match=r"cannot be written .*HIL_DATA"):
        await Folder.claim(tmp_path / "data", quiet)


async def test_the_folder_keeps_out_of_git(tmp_path: Path) -> None:
    """Whatever HIL_DATA names: conversations do not belong in a commit."""
    (await Folder.claim(tmp_path, quiet)).release()
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def _dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid
