"""One record through its handler: again after a failure, and to dead letters when nothing helps. None is ever skipped."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Generic

from msgspec.structs import replace

from streams.runtime.broker.arrived import LARGE
from streams.runtime.effects import Entry
from streams.runtime.model import Fenced, Record, S, SetAside, Unavailable, Undecodable, Unreadable, Until, Unwritable
from streams.runtime.step import Owner, StepOfRecord
from streams.runtime.surroundings import Surroundings

log = logging.getLogger(__name__)


class Handling(Generic[S]):
    def __init__(self, owner: Owner[S], around: Surroundings[S]) -> None:
        self.active = 0
        """Records begun and not settled."""
        self._idle = asyncio.Event()
        self._owner = owner
        self._around = around
        self._settings = around.settings
        self._name = f"{owner.topic}-{owner.partition}"

    async def handle(self, record: Record, entry: Entry[S]) -> Until | None:
        """None: the record is through. Else it is to be handled once that has ended.

        Raises Fenced and Unavailable, which are not the record's fault; anything else is tried again, then buried.
        """
        self.active += 1
        if record.value is not None and len(record.value) >= LARGE:
            entry.size = len(record.value)
        if type(record) is Unreadable:
            await self._bury(record, entry, "batch_unreadable", record.reason, 1)
            return None
        attempts = 1
        while True:
            step = StepOfRecord(self._owner, entry)
            try:
                try:
                    await self._around.processor.handle(record, step)
                finally:
                    step.release()
                break
            except Undecodable as error:
                await self._bury(record, entry, error.code, error.reason, attempts)
                return None
            except SetAside as aside:
                self.settled()  # nothing of it has begun: a rebalance need not wait for it
                entry.waited = True
                return aside.until
            except Unwritable as error:
                await self._bury(record, entry, error.code, str(error), attempts)
                return None
            except (Fenced, Unavailable):
                raise
            except (Exception, asyncio.CancelledError) as error:
                if cancelled_from_outside(error):
                    raise
                group = self._settings.group
                if attempts >= self._settings.max_attempts:
                    log.exception("%s: %s offset %d failed %d times", group, self._name, record.offset, attempts)
                    await self._bury(record, entry, "handler_failed", in_words(error), attempts)
                    return None
                log.warning("%s: %s offset %d failed, trying again: %s", group, self._name, record.offset, in_words(error))
            await asyncio.sleep(self._settings.retry_backoff_s * 2 ** (attempts - 1))
            attempts += 1
        self._through(step)
        return None

    def settled(self) -> None:
        """A record is through, with all it published, or set aside."""
        self.active -= 1
        if not self.active:
            self._idle.set()

    async def all_through(self, patience_s: float) -> None:
        """Wait for begun records. Raises TimeoutError while one is not settled."""
        if self.active:
            self._idle.clear()
            async with asyncio.timeout(patience_s):
                await self._idle.wait()

    def _through(self, step: StepOfRecord[S]) -> None:
        if self._owner.lost is not None:  # whatever the handler made of it: nothing of a lost partition is published
            raise Fenced(str(self._owner.lost))
        step.finish()

    async def _bury(self, record: Record, entry: Entry[S], code: str, reason: str, attempts: int) -> None:
        """To dead letters, and past it. Not being able to write the dead letter stops the process instead."""
        if record.offset < 0:
            await entry.located()
            record = replace(record, offset=entry.offset, timestamp_ms=entry.timestamp_ms)
        step = StepOfRecord(self._owner, entry)
        step.publish(self._around.dead_letter(record, self._settings.group, code, reason, attempts))
        self._through(step)


def cancelled_from_outside(error: BaseException) -> bool:
    """A handler may also let the cancellation of something it waited for slip out: that is a failure like any other."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def in_words(error: BaseException) -> str:
    """The last line of its traceback."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
