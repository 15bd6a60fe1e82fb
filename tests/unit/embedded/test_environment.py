"""Children of ours know how to run, and none of our secrets."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import psutil
import pytest

from agents.sandbox import Sandbox
from connectors.embedded.children import Children, Command
from schemas.environment import DOWNLOADING, child_environment
from streams.app.stand_ins import stand_ins

ROOT = Path(__file__).parents[3]
SECRETS = {
    "OPENAI_API_KEY": "sk-s3cr3t",
    "ANTHROPIC_API_KEY": "s3cr3t",
    "COMPOSIO_API_KEY": "s3cr3t",
    "HIL_LLM_API_KEY": "s3cr3t",
    "HIL_EMBEDDINGS_API_KEY": "s3cr3t",
    "HIL_DATABASE_URL": "postgresql://hil:s3cr3t@127.0.0.1:1/hil",
    "PGPASSWORD": "s3cr3t",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t",
    "GITHUB_TOKEN": "s3cr3t",
    "HTTPS_PROXY": "http://me:s3cr3t@127.0.0.1:1",
    "SOMETHING_NOBODY_THOUGHT_OF": "s3cr3t",
}


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def leaks(process: psutil.Process) -> list[str]:
    """Secrets in a process's environment or command line, as anybody who may look at it sees them."""
    seen = [*(f"{name}={value}" for name, value in process.environ().items()), *process.cmdline()]
    return [each for each in seen if "s3cr3t" in each]


def test_of_our_environment_a_child_gets_how_to_run():
    given = child_environment()
    assert given["PATH"] == os.environ["PATH"]
    assert not set(given) & set(SECRETS)
    assert set(child_environment(DOWNLOADING)) - set(given) <= set(DOWNLOADING)


async def test_neither_the_guard_nor_what_it_keeps_knows_a_secret(tmp_path: Path):
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    try:
        async with Children(tmp_path / "record", tmp_path / "log", lock) as children:
            program = [sys.executable, "-c", "import time; time.sleep(60)"]
            pid = await children.start(Command("sleeper", program, tmp_path / "sleeper.log"))
            child = psutil.Process(pid)
            while child.cmdline()[1:2] != ["-c"] or not child.environ():  # it is still on its way to becoming the program
                pass
            assert not leaks(child)
            assert not leaks(child.parent() or child)
            assert child.environ()["PATH"] == os.environ["PATH"]
    finally:
        os.close(lock)


async def test_the_stand_ins_know_no_secret():
    async with stand_ins():
        assert [leaks(child) for child in psutil.Process().children(recursive=True)] == [[]]


async def test_the_sandbox_knows_no_secret():
    async def nothing(*_: object) -> None: ...

    sandbox = Sandbox()
    try:
        await sandbox.run("1 + 1", functions=(), answer=nothing)
        found = psutil.Process().children(recursive=True)
        assert found
        assert not [leak for child in found for leak in leaks(child)]
    finally:
        await sandbox.close()


def test_whoever_starts_a_process_says_what_it_is_told():
    """A child without `env=` would inherit every key there is."""
    starts = ("create_subprocess_exec", "create_subprocess_shell", "Popen", "subprocess.run", "check_output", "check_call")
    for package in ("schemas", "agents", "connectors", "streams"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(starts):
                    assert any(keyword.arg == "env" for keyword in node.keywords), f"{path}:{node.lineno}"
