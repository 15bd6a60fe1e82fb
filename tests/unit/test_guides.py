"""What the guides say exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(("guide", "rows"), [("failures.md", 30), ("router.md", 30)])
def test_every_row_of_a_table_of_failures_is_a_test(guide: str, rows: int):
    named = set(re.findall(r"\btest_\w+", (ROOT / "docs" / "guides" / guide).read_text(encoding="utf-8")))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > rows
    assert named <= there, sorted(named - there)


def test_every_fault_of_a_provider_that_is_tried_has_its_row():
    """The table is the whole list: what tests/unit/llm/test_faults.py tries and no row tells is missing from the guide."""
    told = (ROOT / "docs" / "guides" / "router.md").read_text(encoding="utf-8")
    tried = re.findall(r"def (test_\w+)", (ROOT / "tests" / "unit" / "llm" / "test_faults.py").read_text(encoding="utf-8"))
    assert [
        name for name in tried if name not in told and "_key_" not in name and name != "test_every_fault_is_one_request"
    ] == []
