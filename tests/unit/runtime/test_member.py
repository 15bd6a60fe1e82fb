"""A member of a group commits as such, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import errors as kafka_errors

from streams.runtime.member import commit_as_member_only


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
