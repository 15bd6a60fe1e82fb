"""One model for all tests here: loading it is the slow part, and it keeps nothing."""

from __future__ import annotations

import pytest

from connectors.rehearsal.model import RehearsalModel


@pytest.fixture(scope="session")
def model() -> RehearsalModel:
    return RehearsalModel.load()
