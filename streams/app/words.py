"""Errors of the parts, as the terminal says them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agents.errors import Fatal
from connectors.cli.ports import CannotGoOn
from connectors.embedded.errors import EmbeddedError
from connectors.embeddings import EmbeddingsError
from connectors.kafka.admin import KafkaUnreachableError, TopicsError
from connectors.postgres.errors import StorageError
from streams.runtime import RuntimeFailed, Unavailable

EXPECTED = (EmbeddedError, KafkaUnreachableError, TopicsError, StorageError, EmbeddingsError, RuntimeFailed, Unavailable, Fatal)
"""Their messages name the thing, the cause and the way out. Anything else is a defect and keeps its traceback."""


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what can be expected to go wrong into one sentence for the user."""
    try:
        yield
    except EXPECTED as error:
        raise CannotGoOn(str(error)) from error
