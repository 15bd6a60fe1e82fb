"""Taking a partition over is tried as long as the patience lasts; a commit that fails says what that means."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors as kafka_errors

from streams.runtime.model import Fenced, Interrupted, RuntimeFailed
from streams.runtime.transactional import failure, taken_over
from tests.support.at_once import at_once


class Producer:
    def __init__(self, starts: list[Any]) -> None:
        self._starts = starts
        self.stopped = False

    async def start(self) -> None:
        found = self._starts.pop(0) if self._starts else None
        if isinstance(found, Exception):
            raise found
        if found == "hangs":
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.stopped = True


def opened(*starts: Any) -> tuple[Any, list[Producer]]:
    made: list[Producer] = []
    waiting = list(starts)

    def make() -> Producer:
        made.append(Producer(waiting))
        return made[-1]

    async def play() -> Any:
        asyncio.get_running_loop().call_later(1e6, lambda: None)
        return await taken_over("hil.nodes-t-0", make, 60)

    try:
        return at_once(play()), made
    except RuntimeFailed as error:
        return error, made


def test_what_may_pass_is_tried_again_with_a_fresh_producer():
    taken, made = opened(kafka_errors.KafkaConnectionError("gone"), kafka_errors.UnknownError(), None)
    assert taken is made[2]
    assert [each.stopped for each in made] == [True, True, False]


def test_what_never_passes_ends_with_the_name_and_the_last_reason():
    failure, made = opened(*[kafka_errors.KafkaConnectionError("all are gone")] * 10_000)
    assert str(failure).startswith("hil.nodes-t-0 cannot be taken over from its former owner")
    assert "all are gone" in str(failure)
    assert all(each.stopped for each in made)


def test_a_coordinator_that_says_nothing_is_named_as_such():
    failure, _ = opened("hangs")
    assert "no coordinator answers for 60 s" in str(failure)


def test_what_is_refused_is_not_tried_again():
    failure, made = opened(kafka_errors.TransactionalIdAuthorizationFailed("hil.nodes-t-0"))
    assert isinstance(failure, RuntimeFailed)
    assert len(made) == 1


def meaning(error: BaseException) -> Exception:
    made: Any = SimpleNamespace(
        _txn_manager=SimpleNamespace(wait_for_transaction_end=lambda: None),
        _sender=SimpleNamespace(sender_task=None),
        _message_accumulator=SimpleNamespace(_batches=defaultdict(list)),
    )
    return failure("hil.nodes-t-0", made, error, 60)


@pytest.mark.parametrize(
    "error", [kafka_errors.ProducerFenced(), kafka_errors.InvalidProducerEpoch(), kafka_errors.InvalidTxnState()]
)
def test_a_refusal_means_another_owner(error: Exception):
    assert type(meaning(error)) is Fenced
    wrapped = kafka_errors.KafkaError("Unexpected error during batch delivery")
    wrapped.__cause__ = error
    assert type(meaning(wrapped)) is Fenced


@pytest.mark.parametrize(
    "error", [kafka_errors.KafkaError("Unexpected error during batch delivery"), kafka_errors.LeaderNotAvailableError()]
)
def test_a_producer_that_is_finished_by_a_fault_of_brokers_means_that_the_partition_is_opened_again(error: Exception):
    """It ended the process."""
    assert type(meaning(error)) is Interrupted


def test_a_commit_that_nobody_accepts_for_longer_than_the_patience_ends_the_process():
    assert type(meaning(TimeoutError())) is RuntimeFailed
