"""A long run can be interrupted and gone on with, and its file says the same as one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.summary import OfAnotherRun, Sweep
from tests.simulation.sweep import sweep

TIMES = ("seconds", "cpu_seconds", "schedules_per_s", "schedules_per_cpu_s", "virtual_hours")


def said(done: Sweep) -> dict[str, object]:
    return {name: value for name, value in done.to_json().items() if name not in TIMES}


def test_two_slices_say_what_one_run_says(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    for end in (4, 9):
        done = Sweep.at(path, 1, 1)
        done.summary.merge(sweep(range(done.following, end)))
        done.following = end
        done.write(path)
    assert said(Sweep.at(path, 1, 1)) == said(Sweep(1, 9, 1, 0.0, sweep(range(1, 9))))


def test_a_file_of_other_seeds_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    Sweep(5, 5).write(path)
    with pytest.raises(OfAnotherRun, match="say --from 5 to go on with it"):
        Sweep.at(path, 0, 1)


def test_a_file_that_is_something_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(OfAnotherRun, match="is no summary"):
        Sweep.at(path, 0, 1)
