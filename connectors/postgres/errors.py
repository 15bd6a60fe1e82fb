"""What can be wrong with the database, in words."""

from __future__ import annotations


class StorageError(RuntimeError):
    """Postgres cannot be used as it is; the message says what is wrong and what to do."""


class OvertakenError(StorageError):
    """Another projector has taken over a partition of ours. Nothing was written: stop."""
