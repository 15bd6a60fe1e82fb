"""The committed states of one partition: bytes as in the changelog, decoded on demand. Holds nothing that is not durable."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from hashlib import sha256
from typing import Generic

from streams.runtime.model import MAX_STATE_BYTES, S, StateCodec, StateTooLarge, UnreadableState, Unwritable
from streams.runtime.noted import KEY as NOTE
from streams.runtime.noted import Noted, read

log = logging.getLogger(__name__)

SHOWN = 20
"""States that are named among those that cannot be read."""
ENTRY_BYTES = 140
"""What a state takes beside its own bytes and its key's: two objects, and its place in the dictionary."""
HOT = 2048
"""Decoded states kept at hand, for a partition: so many, and up to as many again."""
HOT_BYTES = 16 * 1024 * 1024
"""The same in bytes of their encoded form, of which the decoded takes several times as much."""


class StateStore(Generic[S]):
    def __init__(self, codec: StateCodec[S], *, most: int = MAX_STATE_BYTES) -> None:
        """`most`: bytes of a state with its key."""
        self._codec = codec
        self._most = most
        self._encoded: dict[str, bytes] = {}
        self._hot: dict[str, S] = {}
        self._warm: dict[str, S] = {}
        """The hot ones of before: dropping them all at once costs less than choosing one to drop each time."""
        self._hot_bytes = 0
        self.noted: Noted | None = None
        """The position that was committed with them last."""
        self.next_offset = 0
        """First changelog offset not contained."""
        self.known_at = -math.inf
        """When it was last known to be complete, on the loop's clock; no time at all before the first."""

    def __len__(self) -> int:
        return len(self._encoded)

    def get(self, key: str) -> S | None:
        """Raises UnreadableState for what the changelog has under this key and is no state."""
        state = self._hot.get(key)
        if state is None:
            data = self._encoded.get(key)
            if data is None:
                return None
            state = self._warm.get(key)
            if state is None:
                state = self._decode(key, data)
            self._heat(key, state, len(self._encoded[key]))
        return state

    def items(self) -> Iterator[tuple[str, S]]:
        unreadable = 0
        for key in list(self._encoded):
            try:
                state = self.get(key)
            except UnreadableState as fault:  # whoever wrote it must not keep everything else from starting
                unreadable += 1
                if unreadable <= SHOWN:
                    log.error("passed over: %s", fault.reason)
                continue
            if state is not None:
                yield key, state
        if unreadable > SHOWN:
            log.error("… and %d more states cannot be read", unreadable - SHOWN)

    def _decode(self, key: str, data: bytes) -> S:
        try:
            return self._codec.decode(data)
        except Exception as error:  # every codec fails in its own way
            what = f"{len(data):,} bytes, sha256 {sha256(data).hexdigest()[:16]}"
            raise UnreadableState(key, f"{what}: {type(error).__name__}: {error}") from error

    def encode(self, key: str, state: S | None, *, spare: int = 0) -> bytes | None:
        """What the changelog will have of it. Raises StateTooLarge, Unwritable: nobody may find out at the commit."""
        try:
            size = len(key.encode())
            data = None if state is None else self._codec.encode(state)
        except Exception as error:
            raise Unwritable(f"the state of {key!r:.200} cannot be written: {type(error).__name__}: {error}") from error
        if data is not None:
            size += len(data)
        if size + spare > self._most:
            wanted = f", and {spare} more must be left for what follows" if spare else ""
            raise StateTooLarge(f"the state of {key!r:.200} has {size} bytes{wanted}; {self._most} may be kept")
        return data

    def load(self, key: bytes | None, value: bytes | None) -> int:
        """Take in one changelog record. Returns by how many bytes that has made the store larger or smaller."""
        if key is None:
            return 0
        if key == NOTE:
            self.noted = read(value)
            return 0
        name = key.decode(errors="replace")
        self._cool(name)
        before = self._encoded.pop(name, None)
        grown = 0 if before is None else -len(before) - ENTRY_BYTES - len(name)
        if value is None:
            return grown
        self._encoded[name] = value
        return grown + len(value) + ENTRY_BYTES + len(name)

    def weight(self) -> int:
        """About how much memory the states take. Looks at every one of them."""
        return sum(map(len, self._encoded.values())) + sum(map(len, self._encoded)) + ENTRY_BYTES * len(self._encoded)

    def commit(self, key: str, state: S | None, data: bytes | None) -> None:
        """The state is in the changelog now."""
        if state is None or data is None:
            self._cool(key)
            self._encoded.pop(key, None)
        else:
            self._encoded[key] = data
            self._heat(key, state, len(data))

    def _heat(self, key: str, state: S, size: int) -> None:
        """A state that is heated again counts again: it is only made to cool the sooner by it."""
        self._hot_bytes += size
        if len(self._hot) >= HOT or self._hot_bytes >= HOT_BYTES:
            self._hot, self._warm, self._hot_bytes = {}, self._hot, size
        self._hot[key] = state

    def _cool(self, key: str) -> None:
        self._hot.pop(key, None)
        self._warm.pop(key, None)
