"""The four top-level packages are ours alone."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

OURS = {"schemas", "agents", "streams", "connectors"}


def test_no_installed_distribution_ships_a_package_with_one_of_our_names():
    taken = {
        f"{distribution.name} ships {part}"
        for distribution in distributions()
        if distribution.name.lower().replace("_", "-") != "hil-agents"
        for part in {file.parts[0] for file in distribution.files or () if len(file.parts) > 1} & OURS
    }
    assert not taken


def test_only_the_runtime_imports_the_consumer():
    """There is one place where an offset is committed."""
    root = Path(__file__).parents[2]
    users = {
        path.relative_to(root).parts[:2]
        for package in OURS
        for path in (root / package).rglob("*.py")
        if "AIOKafkaConsumer" in path.read_text(encoding="utf-8")
    }
    assert users == {("streams", "runtime")}
