"""A member of a group commits as such, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import errors as kafka_errors

from streams.runtime import RuntimeSettings
from streams.runtime import member as module
from streams.runtime.member import JOININGS, Member, commit_as_member_only
from tests.support.at_once import at_once


class Coordinator:
    """aiokafka's, as far as a commit goes through it."""

    def __init__(self) -> None:
        self.generation = 7
        self.sent: list[Any] = []

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        self.sent.append(offsets)


async def test_who_has_lost_the_membership_sends_no_commit_that_a_broker_would_take_for_a_lone_consumers():
    coordinator = Coordinator()
    commit_as_member_only(coordinator)
    await coordinator._do_commit_offsets(None, "first")
    coordinator.generation = -1
    with pytest.raises(kafka_errors.UnknownMemberIdError):
        await coordinator._do_commit_offsets(None, "second")
    assert coordinator.sent == ["first"]


class Consumer:
    """aiokafka's, as far as a member joins with it."""

    def __init__(self, **config: Any) -> None:
        self.session_ms = config["session_timeout_ms"]

    def subscribe(self, **_: Any) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def members(monkeypatch: pytest.MonkeyPatch, *ends: Exception, apart_s: float = 0.0) -> tuple[list[Consumer], Exception | None]:
    """(every membership that was begun, what `poll` raised) when they end so, one after the other."""
    made: list[Consumer] = []
    waiting = list(ends)

    class Fetches:
        def __init__(self, consumer: Consumer, fetching: Any) -> None:
            made.append(consumer)

        def start(self) -> None: ...

        async def stop(self) -> None: ...

        async def poll(self, timeout_s: float, most: int | None) -> Any:
            await asyncio.sleep(apart_s)
            if waiting:
                raise waiting.pop(0)
            return {"some": "records"}

    monkeypatch.setattr(module, "AIOKafkaConsumer", Consumer)
    monkeypatch.setattr(module, "Fetches", Fetches)
    monkeypatch.setattr(module, "Bounds", lambda *_, **__: None)

    async def play() -> Exception | None:
        fetching: Any = object()

        async def revoked(_: Any) -> None: ...

        member = Member(
            RuntimeSettings("nowhere:0", "group", ("in",)), assigned=lambda _: None, revoked=revoked, fetching=fetching
        )
        try:
            while not await member.poll(1):
                pass
        except kafka_errors.KafkaError as error:
            return error
        return None

    return made, at_once(play())


SURPRISE = kafka_errors.KafkaError("Unexpected exception in heartbeat task: UnknownError()")


def test_a_membership_that_ends_over_a_surprise_is_begun_anew(monkeypatch: pytest.MonkeyPatch):
    """It ended the process."""
    made, error = members(monkeypatch, SURPRISE, kafka_errors.RequestTimedOutError())
    assert error is None
    assert len(made) == 3


def test_a_membership_that_ends_again_and_again_ends_the_process(monkeypatch: pytest.MonkeyPatch):
    made, error = members(monkeypatch, *[SURPRISE] * 10)
    assert error is SURPRISE
    assert len(made) == 1 + JOININGS


def test_surprises_of_long_ago_are_forgiven(monkeypatch: pytest.MonkeyPatch):
    made, error = members(monkeypatch, *[SURPRISE] * 10, apart_s=200)
    assert error is None
    assert len(made) == 11


def test_what_has_a_name_and_will_not_pass_ends_the_process(monkeypatch: pytest.MonkeyPatch):
    refused = kafka_errors.GroupAuthorizationFailedError("group")
    assert members(monkeypatch, refused)[1] is refused


def test_a_broker_that_wants_longer_sessions_gets_them_from_then_on(monkeypatch: pytest.MonkeyPatch):
    made, _ = members(monkeypatch, kafka_errors.InvalidSessionTimeoutError(), SURPRISE)
    assert [consumer.session_ms for consumer in made] == [3_000, 6_000, 6_000]
