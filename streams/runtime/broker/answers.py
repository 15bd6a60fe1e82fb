"""Answers of brokers: the first of several, what is worth asking again, and failures in words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from aiokafka import errors as kafka_errors


def may_pass(error: type[kafka_errors.KafkaError]) -> bool:
    """Whether what was refused is worth sending again. A code that nobody here knows may mean anything, so patience decides."""
    return bool(error.retriable) or error in (kafka_errors.UnknownError, kafka_errors.BrokerNotAvailableError)


async def first_of(asks: Sequence[Callable[[], Awaitable[Any]]], patience_s: float) -> Any:
    """The first result that is not None. The next is asked when those before have said None, or nothing for so long."""
    waiting: Iterator[Callable[[], Awaitable[Any]]] = iter(asks)
    asked: set[asyncio.Future[Any]] = set()
    more = True
    try:
        while True:
            following = next(waiting, None)
            more = following is not None
            if following is not None:
                asked.add(asyncio.ensure_future(following()))
            while asked:
                done, asked = await asyncio.wait(asked, timeout=patience_s if more else None, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    if (result := each.result()) is not None:
                        return result
                if more:
                    break
            if not more:
                return None
    finally:
        for each in asked:
            each.cancel()  # not waited for: whoever is closed in the midst of this may not wait any more


def in_words(error: BaseException) -> str:
    """Why a broker cannot be used, without addresses and error numbers."""
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection"
    if isinstance(error, TimeoutError):
        return "has not answered"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    if isinstance(error, kafka_errors.KafkaConnectionError):
        return "broke the connection"
    return repr(error)
