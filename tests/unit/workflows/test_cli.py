"""`hil workflows`: what it prints and with which code it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from connectors.cli.ports import CannotGoOn, PublishedWorkflow
from connectors.cli.workflows import build
from streams.workflows.workbench import Workbench
from tests.unit.workflows.flows import AGENTS, flow


class Published:
    """Stands in for a running system."""

    async def publish_workflows(self, paths: Sequence[str]) -> list[PublishedWorkflow]:
        return [PublishedWorkflow("flow", "1.0.0", "d" * 64, 2, 0, False) for _ in paths]

    async def list_workflows(self) -> list[PublishedWorkflow]:
        return await self.publish_workflows(["one"])


class Down:
    async def publish_workflows(self, paths: Sequence[str]) -> list[PublishedWorkflow]:
        raise CannotGoOn("nothing is running here: start `hil up`")

    async def list_workflows(self) -> list[PublishedWorkflow]:
        return []


def hil(*arguments: str | Path, system: Any = None) -> Result:
    app = build(Workbench(AGENTS, None, ("fast", "balanced")), system or Published())
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.yaml"
    file.write_text(flow("a>b b>END"), encoding="utf-8")
    return file


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "bad.yaml"
    file.write_text(flow("a>b b>a"), encoding="utf-8")
    return file


def test_validate_ends_with_0_or_1(good: Path, bad: Path) -> None:
    fine, broken = hil("validate", good), hil("validate", good, bad)
    assert (fine.exit_code, broken.exit_code) == (0, 1)
    assert "flow 1.0.0 is fine (2 nodes)" in fine.stdout
    assert f"{bad}:" in broken.stdout
    assert "cycle" in broken.stdout


def test_validate_json_is_one_object_a_fault(bad: Path) -> None:
    lines = hil("validate", bad, "--json").stdout.splitlines()
    assert [json.loads(line)["code"] for line in lines] == ["cycle"]


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    for command in ("validate", "show", "simulate", "publish"):
        assert hil(command, tmp_path / "nowhere.yaml").exit_code == 2


def test_show_draws_a_tree_or_mermaid(good: Path, bad: Path) -> None:
    assert "└─ b" in hil("show", good).stdout
    assert hil("show", good, "--mermaid").stdout.startswith("flowchart TD")
    assert hil("show", bad).exit_code == 1


def test_simulate_prints_one_json_object(good: Path, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"text": "hi"}', encoding="utf-8")
    (tmp_path / "out.json").write_text('{"a": {"output": 1, "delay_ms": 5}}', encoding="utf-8")
    result = hil("simulate", good, "--input", tmp_path / "in.json", "--outputs", tmp_path / "out.json", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "status": "completed",
        "executed": ["a", "b"],
        "skipped": [],
        "failed": [],
        "order": ["a", "b"],
    }
    assert "a → b" in hil("simulate", good).stdout


def test_simulate_says_invalid_with_1(bad: Path) -> None:
    result = hil("simulate", bad, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == "invalid"


@pytest.mark.parametrize("content", ["{", "[1]", '{"nobody": {}}', '{"a": 1}', "\x00"])
def test_simulate_with_outputs_it_cannot_read_is_wrong_usage(good: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "out.json").write_text(content, encoding="utf-8")
    result = hil("simulate", good, "--outputs", tmp_path / "out.json", "--json")
    assert result.exit_code == 2
    assert "error:" in result.stderr
    assert not result.stdout


def test_publish_tells_what_is_published_and_list_shows_it(good: Path, bad: Path) -> None:
    assert "flow@1.0.0 is published" in hil("publish", good).stdout
    assert hil("publish", bad).exit_code == 1
    assert "flow" in hil("list").stdout
    assert json.loads(hil("list", "--json").stdout)["name"] == "flow"


def test_without_a_system_it_says_what_to_type(good: Path) -> None:
    result = hil("publish", good, system=Down())
    assert result.exit_code == 1
    assert "hil up" in result.stderr
    assert "hil workflows publish" in hil("list", system=Down()).stdout
