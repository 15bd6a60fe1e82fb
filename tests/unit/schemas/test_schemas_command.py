"""`hil schemas`: what it prints, and that it says no when there is a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors.cli import schemas as command
from schemas.codec.registry import FOLDER, current, event_types


def test_list_shows_every_type_with_topic_encoding_and_fingerprint() -> None:
    result = CliRunner().invoke(command.app, ["list", "--json"])
    rows = {row["type"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert list(rows) == list(event_types())
    assert rows["hil.timer.fired"] == {
        "type": "hil.timer.fired",
        "topics": ["conversation.events"],
        "encoding": "avro",
        "fingerprint": current(event_types()["hil.timer.fired"]).fingerprint.hex(),
    }


def test_list_prints_a_table_for_people() -> None:
    result = CliRunner().invoke(command.app, ["list"])
    assert result.exit_code == 0
    assert all(kind in result.stdout for kind in event_types())


def test_export_writes_the_files_that_were_shipped(tmp_path: Path) -> None:
    result = CliRunner().invoke(command.app, ["export", str(tmp_path / "new")])
    assert result.exit_code == 0
    shipped = {file.name: file.read_bytes() for file in FOLDER.glob("*.avsc")}
    assert {file.name: file.read_bytes() for file in (tmp_path / "new").iterdir()} == shipped


def test_export_refuses_a_folder_whose_versions_it_could_not_read(tmp_path: Path) -> None:
    (tmp_path / "hil.was.here.avsc").write_text('{"type": "record", "name": "WasHere", "namespace": "hil", "fields": []}')
    result = CliRunner().invoke(command.app, ["export", str(tmp_path)])
    assert result.exit_code == 1
    assert "hil.was.here: no event has this type" in result.stderr
    assert len(list(tmp_path.iterdir())) == 1


def test_export_names_the_folder_it_cannot_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(command.app, ["export", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert "cannot write to" in result.stderr


def test_check_passes_on_what_was_shipped() -> None:
    assert CliRunner().invoke(command.app, ["check"]).exit_code == 0


def test_check_names_the_type_whose_file_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "outdated", lambda: ["hil.timer.fired"])
    result = CliRunner().invoke(command.app, ["check"])
    assert result.exit_code == 1
    assert "hil.timer.fired" in result.stderr
