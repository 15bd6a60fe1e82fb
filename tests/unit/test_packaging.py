"""The four top-level packages are ours alone."""

from __future__ import annotations

from importlib.metadata import distributions

OURS = {"schemas", "agents", "streams", "connectors"}


def test_no_installed_distribution_ships_a_package_with_one_of_our_names():
    taken = {
        f"{distribution.name} ships {part}"
        for distribution in distributions()
        if distribution.name.lower().replace("_", "-") != "hil-agents"
        for part in {file.parts[0] for file in distribution.files or () if len(file.parts) > 1} & OURS
    }
    assert not taken
