"""The transaction coordinator: producer ids and epochs, what belongs to a transaction, and its end on every partition.

Answers follow the broker for the request versions that aiokafka 0.14 speaks. Markers are written after the answer to the commit,
each partition at its own time, as on the real broker; until then the coordinator says ConcurrentTransactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

from tests.simulation.broker.log import PartitionLog

State = Literal["empty", "ongoing", "committing", "aborting", "complete"]


@dataclass(slots=True)
class Transaction:
    name: str
    pid: int
    epoch: int = 0
    state: State = "empty"
    committed: bool = False
    """How the last one ended."""
    partitions: set[TopicPartition] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    number: int = 0
    """Counts transactions, so that a timeout knows its own."""
    timeout_ms: int = 60_000


class Transactions:
    def __init__(
        self,
        log_of: Callable[[TopicPartition], PartitionLog],
        end_offsets: Callable[[str, int, bool], None],
        later: Callable[[Callable[[], None]], None],
        after_ms: Callable[[int, Callable[[], None]], None],
        now_ms: Callable[[], int],
        ended: Callable[[str], None],
    ) -> None:
        """`end_offsets(group, pid, commit)` settles offsets that waited; `later` runs something a little later."""
        self._log_of = log_of
        self._end_offsets = end_offsets
        self._later = later
        self._after_ms = after_ms
        self._now_ms = now_ms
        self._ended = ended
        self._by_id: dict[str, Transaction] = {}
        self._pids = 1000

    def init(self, transactional_id: str | None, timeout_ms: int = 60_000) -> tuple[int, int]:
        """Producer id and epoch. Raises ConcurrentTransactions while an earlier transaction is being ended."""
        if transactional_id is None:
            self._pids += 1
            return self._pids, 0
        found = self._by_id.get(transactional_id)
        if found is None:
            self._pids += 1
            self._by_id[transactional_id] = Transaction(transactional_id, self._pids, timeout_ms=timeout_ms)
            return self._pids, 0
        if found.state == "ongoing":
            found.epoch += 1
            self._end(found, commit=False)
        if found.state in ("committing", "aborting"):
            raise kafka_errors.ConcurrentTransactions
        found.epoch += 1
        found.state, found.timeout_ms = "empty", timeout_ms
        return found.pid, found.epoch

    def add_partitions(self, transactional_id: str, pid: int, epoch: int, partitions: Iterable[TopicPartition]) -> None:
        found = self._known(transactional_id, pid, epoch)
        self._ongoing(found)
        found.partitions.update(partitions)

    def add_offsets(self, transactional_id: str, pid: int, epoch: int, group: str) -> None:
        found = self._known(transactional_id, pid, epoch)
        self._ongoing(found)
        found.groups.add(group)

    def end(self, transactional_id: str, pid: int, epoch: int, *, commit: bool) -> None:
        found = self._known(transactional_id, pid, epoch)
        if found.state == "ongoing":
            self._end(found, commit=commit)
        elif found.state == "complete" and found.committed == commit:
            return  # the answer was lost; the same question again
        elif found.state == ("committing" if commit else "aborting"):
            raise kafka_errors.ConcurrentTransactions
        else:
            raise kafka_errors.InvalidTxnState

    def verify(self, transactional_id: str, pid: int, epoch: int, *, tp: TopicPartition | None = None, group: str = "") -> None:
        """What a partition asks before it takes transactional records: are you part of it?"""
        found = self._by_id.get(transactional_id)
        if found is None or found.pid != pid:
            raise kafka_errors.InvalidProducerIdMapping
        if found.epoch != epoch:
            raise kafka_errors.InvalidProducerEpoch
        if found.state in ("committing", "aborting"):
            raise kafka_errors.ConcurrentTransactions
        if found.state != "ongoing" or (tp is not None and tp not in found.partitions) or (group and group not in found.groups):
            raise kafka_errors.InvalidTxnState

    def state(self, transactional_id: str) -> State | None:
        found = self._by_id.get(transactional_id)
        return found.state if found is not None else None

    def any_ending(self) -> bool:
        """Whether some markers are still to be written."""
        return any(found.state in ("committing", "aborting") for found in self._by_id.values())

    def _known(self, transactional_id: str, pid: int, epoch: int) -> Transaction:
        found = self._by_id.get(transactional_id)
        if found is None or found.pid != pid:
            raise kafka_errors.InvalidProducerIdMapping
        if found.epoch != epoch:
            raise kafka_errors.InvalidProducerEpoch
        return found

    def _ongoing(self, found: Transaction) -> None:
        if found.state in ("committing", "aborting"):
            raise kafka_errors.ConcurrentTransactions
        if found.state != "ongoing":
            found.state = "ongoing"
            found.number += 1
            number = found.number
            self._after_ms(found.timeout_ms, lambda: self._time_out(found, number))

    def _time_out(self, found: Transaction, number: int) -> None:
        if found.state == "ongoing" and found.number == number:
            found.epoch += 1
            self._end(found, commit=False)

    def _end(self, found: Transaction, *, commit: bool) -> None:
        found.state = "committing" if commit else "aborting"
        waiting = [*sorted(found.partitions), *sorted(found.groups)]
        left = len(waiting)
        pid, epoch = found.pid, found.epoch

        def one(where: TopicPartition | str) -> None:
            nonlocal left
            if isinstance(where, str):
                self._end_offsets(where, pid, commit)
            else:
                self._log_of(where).mark(pid, epoch, commit=commit, timestamp=self._now_ms())
            left -= 1
            if not left:
                complete()

        def complete() -> None:
            found.state, found.committed = "complete", commit
            found.partitions.clear()
            found.groups.clear()
            if commit:
                self._ended(found.name)

        if not waiting:
            complete()
        for where in waiting:
            self._later(lambda where=where: one(where))  # type: ignore[misc]
