"""A whole system as it is started: of all its processes only the one that was given a secret knows it, and none shows it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from tests.support.system import start

pytestmark = pytest.mark.xdist_group("system")

SECRETS = {
    "HIL_LLM_API_KEY": "s3cr3t-model",
    "HIL_EMBEDDINGS_API_KEY": "s3cr3t-vectors",
    "ANTHROPIC_AUTH_TOKEN": "s3cr3t-other",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-cloud",
    "GITHUB_TOKEN": "s3cr3t-code",
    "PGPASSWORD": "s3cr3t-database",
}


def test_the_children_of_a_system_know_no_secret_and_nobody_s_arguments_hold_one(tmp_path: Path) -> None:
    system = start(tmp_path, **SECRETS)
    try:
        password = str(system.addresses["database_url"]).split(":")[2].split("@")[0]
        ours = psutil.Process(system.process.pid)
        children = ours.children(recursive=True)
        names = " ".join(" ".join(child.cmdline()) for child in children)
        assert all(part in names for part in ("kafka.Kafka", "postgres", "connectors.rehearsal", "guard.py"))
        for child in children:
            if os.geteuid() == 0 or child.username() == ours.username():
                shown = "\0".join(f"{name}={value}" for name, value in child.environ().items())
                assert "s3cr3t" not in shown, child
                assert password not in shown, child
        for process in (ours, *children):
            assert "s3cr3t" not in " ".join(process.cmdline())
            assert password not in " ".join(process.cmdline())
        running = tmp_path / "hil" / "running.json"
        assert json.loads(running.read_text())["database_url"] == system.addresses["database_url"]
        assert running.stat().st_mode & 0o077 == 0
    finally:
        assert system.stop() == 0
    log = system.log.read_text()
    assert "s3cr3t" not in log
    assert password not in log
