"""Transactional producers of aiokafka, as the runtime and the ledger use them: taken over, and understood when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from streams.runtime.broker.answers import may_pass
from streams.runtime.broker.client import use_patient_clients
from streams.runtime.closing import close
from streams.runtime.model import Fenced, Interrupted, RuntimeFailed
from streams.runtime.patience import BACKOFF_S, BROKER_S, TRANSACTION_S

RETRY_BACKOFF_MS = 20
"""The broker asks to come back while it still writes the markers of the transaction before."""

_REFUSALS = (
    kafka_errors.ProducerFenced,
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.InvalidProducerIdMapping,
    kafka_errors.InvalidTxnState,
    # What aiokafka says to the next `send` when a refusal has just ended the transaction that was begun.
    kafka_errors.IllegalOperation,
)


def producer(bootstrap: str, name: str, *, client_id: str, max_message_bytes: int) -> Any:
    """Not started. `name`: its transactional id."""
    use_patient_clients()
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        transactional_id=name,
        transaction_timeout_ms=int(TRANSACTION_S * 1000),
        request_timeout_ms=int(BROKER_S * 1000),
        linger_ms=0,
        retry_backoff_ms=RETRY_BACKOFF_MS,
        max_batch_size=512 * 1024,
        max_request_size=max_message_bytes,
    )


async def taken_over(name: str, make: Callable[[], Any], patience_s: float) -> Any:
    """A started producer: the former owner's open transaction is over, and everything it sends is refused from now on.

    Begun anew as long as the patience lasts. Raises RuntimeFailed.
    """
    trouble: BaseException | None = None
    made: Any = None
    try:
        async with asyncio.timeout(patience_s):
            while True:
                made = make()
                try:
                    await made.start()
                    return made
                except kafka_errors.KafkaError as error:
                    if not may_pass(type(error)):
                        raise
                    trouble = error
                await close(made.stop())
                await asyncio.sleep(BACKOFF_S)
    except (kafka_errors.KafkaError, TimeoutError) as error:
        await close(made.stop())
        why = f"{trouble or 'no coordinator answers'!s} for {patience_s:g} s" if isinstance(error, TimeoutError) else repr(error)
        raise RuntimeFailed(f"{name} cannot be taken over from its former owner: {why}") from error
    except BaseException:
        await close(made.stop())
        raise


def failure(name: str, made: Any, error: BaseException, patience_s: float) -> Exception:
    """What a commit that ended with `error` means: Fenced, Interrupted or RuntimeFailed. Whether it came to pass is unknown."""
    _retrieve_refusal(made)
    if isinstance(error, TimeoutError) and not finished(made):
        return RuntimeFailed(f"{name}: no commit has been accepted for {patience_s:g} s. Its position stays where it is")
    if isinstance(error, _REFUSALS) or isinstance(error.__cause__, _REFUSALS):
        return Fenced(f"{name} has a new owner: this one may not commit any more")
    return Interrupted(f"{name} could not commit ({error!r}): its position stays where it is, and it is opened again")


def finished(made: Any) -> bool:
    """Whether aiokafka has given this producer up: then it may wait for ever, and says nothing."""
    sending = made._sender.sender_task
    return sending is not None and sending.done()


def _retrieve_refusal(made: Any) -> None:
    """aiokafka leaves a refusal in futures of its own as well; unretrieved, they are logged as further errors later."""
    left = [made._txn_manager.wait_for_transaction_end()]
    left += [batch._drain_waiter for lane in made._message_accumulator._batches.values() for batch in lane]
    for future in left:
        if future is not None and future.done() and not future.cancelled():
            future.exception()
