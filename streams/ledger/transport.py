"""Faust's consumer, with two things changed: it reads what is committed alone, and a record's way to an agent is shorter.

Faust reads `read_uncommitted` unless it runs its own transactions. Rows of a transaction that was given up would be restored:
their events would count as counted, though nobody was told of the rows, and their ids, in pages never written, as not seen.

`Consumer.wait_first` is what Faust hands each record over with, in four tasks and three turns of the loop. It almost never has to
wait: then nothing is made to wait with.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

from faust.sensors.monitor import Monitor
from faust.transport.drivers.aiokafka import Consumer, Transport
from mode.services import WaitResults


class DirectConsumer(Consumer):
    def _new_consumer_thread(self) -> Any:
        thread: Any = super()._new_consumer_thread()
        create = thread._create_worker_consumer

        def create_for_committed(transport: Any) -> Any:
            consumer = create(transport)
            consumer._isolation_level = "read_committed"  # looked at when it starts; Faust has no setting for it
            return consumer

        thread._create_worker_consumer = create_for_committed
        return thread

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:
        """As Faust's, but the first coroutine runs at once, in the caller's task, up to where it really waits."""
        first, *others = coros
        if timeout is None and isinstance(first, types.CoroutineType):
            try:
                waits_for = first.send(None)
            except StopIteration as finished:
                for other in others:
                    if isinstance(other, types.CoroutineType):
                        other.close()
                return WaitResults([first], [finished.value], self.should_stop)
            coros = (_resumed(first, waits_for), *others)
        return await super().wait_first(*coros, timeout=timeout)


async def _resumed(begun: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    """The rest of a coroutine that has been started by hand and now waits for a future."""
    return await _from_here(begun, waits_for)


@types.coroutine
def _from_here(begun: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    step: Any
    while True:
        try:
            argument = yield waits_for
            step = begun.send
        except BaseException as error:  # noqa: BLE001  a cancellation belongs to the coroutine
            step, argument = begun.throw, error
        try:
            waits_for = step(argument)
        except StopIteration as finished:
            return finished.value


class DirectTransport(Transport):
    Consumer = DirectConsumer


class SilentMonitor(Monitor):
    """Faust's own statistics, which nobody here reads, kept out of the way of every record."""

    def on_message_in(self, *_: Any) -> None:
        """Nothing."""

    def on_stream_event_in(self, *_: Any) -> None:
        """Nothing."""

    def on_stream_event_out(self, *_: Any) -> None:
        """Nothing."""

    def track_tp_end_offset(self, *_: Any) -> None:
        """Nothing."""
