"""A step without a broker: what a processor put, published and journalled for one record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.base import Event
from schemas.codec import decode
from streams.journal import ExecutionCodec
from streams.runtime import Fenced, Outgoing, Record
from streams.runtime.store import StateStore
from streams.wire import outgoing


class FakeStep:
    """streams.runtime.Step over a dictionary. `fenced` makes the journal refuse, as the broker does a former owner."""

    def __init__(self, states: dict[str, Any] | None = None, *, partition: int = 0, fenced: bool = False, most: int = 0) -> None:
        """`most`: bytes an execution may have, if any number is too many."""
        self.partition = partition
        self.states = {} if states is None else states
        self.journalled: list[tuple[str, Any]] = []
        self.outs: list[Outgoing] = []
        self.fenced = fenced
        self._store: StateStore[Any] | None = StateStore(ExecutionCodec(), most=most) if most else None
        self.gone_ahead = False
        self.waited = False

    def get(self, key: str) -> Any:
        return self.states.get(key)

    def put(self, key: str, state: Any) -> None:
        self._measure(key, state)
        if state is None:
            self.states.pop(key, None)
        else:
            self.states[key] = state

    def publish(self, out: Outgoing) -> None:
        self.outs.append(out)

    def tell(self, out: Outgoing) -> None:
        self.outs.append(out)

    async def told(self) -> None: ...

    def ahead(self) -> None:
        self.gone_ahead = True

    async def journal(self, key: str, state: Any, *, spare: int = 0) -> None:
        if self.fenced:
            raise Fenced("another owner has the partition")
        self._measure(key, state, spare)
        self.journalled.append((key, state))
        self.put(key, state)

    def _measure(self, key: str, state: Any, spare: int = 0) -> None:
        if self._store is not None:
            self._store.encode(key, state, spare=spare)

    async def act(self) -> None: ...

    def acted(self) -> None: ...

    def events(self, *kinds: type[Event]) -> list[Any]:
        events = [decode(out.value, out.headers) for out in self.outs]
        return [event for event in events if not kinds or isinstance(event, kinds)]


class FakeView:
    """streams.runtime.PartitionView over the same dictionary."""

    def __init__(self, states: dict[str, Any], partition: int = 0) -> None:
        self.topic, self.partition, self.states = "conversation.events", partition, states
        self.outs: list[Outgoing] = []

    def get(self, key: str) -> Any:
        return self.states.get(key)

    def items(self) -> Iterable[tuple[str, Any]]:
        return list(self.states.items())

    def publish(self, out: Outgoing) -> None:
        self.outs.append(out)


def record_of(event: Event, *, offset: int = 0, timestamp_ms: int = 1_000) -> Record:
    """The record this event arrives in."""
    out = outgoing(event)
    return Record(out.topic, 0, offset, timestamp_ms, out.key, out.value, out.headers)
