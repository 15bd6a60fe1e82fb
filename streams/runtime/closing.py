"""Closing clients that may hang, and hearing what ended: aiokafka waits for a lost broker without end, a process must not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

log = logging.getLogger(__name__)

PATIENCE_S = 10.0


async def close(stopping: Awaitable[Any], patience_s: float = PATIENCE_S) -> None:
    """Wait for a client to close, but not for ever, and survive what it raises on the way."""
    try:
        async with asyncio.timeout(patience_s):
            await stopping
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # aiokafka passes on the cancellation of its own background task when the broker is gone: nobody cancelled us
    except TimeoutError:
        log.warning("a Kafka client did not close within %g s: left behind", patience_s)
    except Exception as error:  # noqa: BLE001  it is being thrown away; the reason for that is reported elsewhere
        log.warning("a Kafka client did not close cleanly: %s: %s", type(error).__name__, error)


async def end(tasks: set[asyncio.Task[Any]], patience_s: float = 5.0) -> None:
    """Cancel tasks and wait until they have ended; a task that will not is left behind and named."""
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    done, stuck = await asyncio.wait(tasks, timeout=patience_s)
    for task in done:
        if not task.cancelled():
            task.exception()
    for task in stuck:
        log.error("%s ignores its cancellation: left behind", task.get_coro())


async def came(event: asyncio.Event, *, unless: asyncio.Event) -> bool:
    """Wait for either event. True when `event` came, even if it is not set any more."""
    waiting = [asyncio.ensure_future(each.wait()) for each in (event, unless)]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(set(waiting))
    return waiting[0] in done
