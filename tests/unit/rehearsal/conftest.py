"""One model for all tests here: loading it is the slow part, and it keeps nothing."""

from __future__ import annotations

import pytest

from connectors.rehearsal.model import RehearsalModel


@pytest.fixture(scope="session")
def model() -> RehearsalModel:
    return RehearsalModel.load()


@pytest.fixture
def rehearsal(model: RehearsalModel) -> RehearsalModel:
    """The same, for tests that have a `model` of another kind."""
    return model
