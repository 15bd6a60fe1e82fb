"""How many bytes of records a process has fetched and is not done with: of all its members together, bounded.

A partition has its share, so that none keeps the others from being read; what one answer brings beyond that passes, or a record
larger than a share would never be handled. Beyond the whole nothing more is asked for but by who has nothing.
"""

from __future__ import annotations

from collections import deque

from aiokafka import TopicPartition

ARRIVED_BYTES = 128 * 1024 * 1024
LEAST_SHARE = 1024 * 1024
LARGE = 8 * 1024
"""A record of so many bytes is counted by itself when it is handled; of smaller ones, those that came together."""


class Arrived:
    """Partitions `join`; `add` what has arrived of one and `release` what is handled."""

    def __init__(self, most: int = ARRIVED_BYTES) -> None:
        self.most = most
        self.used = 0
        self._held: dict[TopicPartition, int] = {}
        self._pieces: dict[TopicPartition, deque[tuple[int, int]]] = {}
        """What has arrived together, in order: the offset after it, and its bytes."""

    def join(self, partition: TopicPartition) -> None:
        if partition not in self._held:
            self._held[partition] = 0
            self._pieces[partition] = deque()

    def leave(self, partition: TopicPartition) -> None:
        self.used -= self._held.pop(partition, 0)
        self._pieces.pop(partition, None)

    def add(self, partition: TopicPartition, following: int, size: int) -> None:
        """Records up to the one before `following`."""
        self._pieces[partition].append((following, size))
        self._change(partition, size)

    def release(self, partition: TopicPartition, position: int) -> bool:
        """Everything before the position is handled. True when there is room now and was none before."""
        pieces = self._pieces.get(partition)
        if not pieces or pieces[0][0] > position:
            return False
        before = self.room(partition)
        while pieces and pieces[0][0] <= position:
            self._change(partition, -pieces.popleft()[1])
        return not before and self.room(partition) > 0

    def lighten(self, partition: TopicPartition, offset: int, size: int) -> bool:
        """One record is through, before or after those around it. True when there is room now and was none before."""
        pieces = self._pieces.get(partition, ())
        for at, (following, held) in enumerate(pieces):
            if offset < following:
                before, freed = self.room(partition), min(size, held)
                pieces[at] = following, held - freed  # type: ignore[index]  # a deque, or there would be no piece
                self._change(partition, -freed)
                return not before and self.room(partition) > 0
        return False

    def drop(self, partition: TopicPartition, position: int) -> None:
        """What has arrived from the position on will arrive again."""
        pieces = self._pieces.get(partition, ())
        while pieces and pieces[-1][0] > position:
            assert isinstance(pieces, deque)
            self._change(partition, -pieces.pop()[1])

    def room(self, partition: TopicPartition) -> int:
        """How many bytes of it may be asked for now; at least one when it has nothing and the process not twice its bound."""
        held = self._held.get(partition, 0)
        if not held and self.used < 2 * self.most:
            return max(self._share, 1)
        return max(0, min(self._share - held, self.most - self.used))

    def takes(self, partition: TopicPartition) -> bool:
        """Whether an answer that has come is to be looked into. What is not is asked for again."""
        return not self.used or self.room(partition) > 0

    @property
    def _share(self) -> int:
        return max(LEAST_SHARE, self.most // max(1, len(self._held)))

    def _change(self, partition: TopicPartition, size: int) -> None:
        self._held[partition] += size
        self.used += size
