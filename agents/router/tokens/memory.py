"""Counts that were made once: bounded, the least recently used forgotten first."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SHORT = 256
"""Characters up to which a text is its own key; longer ones are known by a digest, so that memory stays small."""


class Memory(Generic[K, V]):
    """A dictionary of at most `limit` entries. Two threads may both compute what is missing; none sees half of it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._kept[key] = found
        return found

    def put(self, key: K, value: V) -> V:
        self._kept[key] = value
        while len(self._kept) > self._limit:
            self._kept.pop(next(iter(self._kept)), None)
        return value

    def __len__(self) -> int:
        return len(self._kept)


def key_of(text: str) -> str | bytes:
    """What a text is known by."""
    if len(text) <= SHORT:
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
