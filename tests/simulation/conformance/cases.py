"""What the simulation relies on. Each case is a claim about a broker; no case knows which one it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import errors as kafka_errors

from tests.simulation.conformance.wire import Wire

Case = Callable[[Wire], Awaitable[None]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def pairs(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"k", value.encode()) for value in values]


# ---------------------------------------------------------------------------------------------- idempotence


@case
async def offsets_follow_each_other(wire: Wire) -> None:
    """Offsets count up over batches and producers, and readers get records in their order."""
    one, two = await wire.init(), await wire.init()
    assert one != two
    assert await wire.produce(*one, 0, pairs("a", "b")) == 0
    assert await wire.produce(*two, 0, pairs("c")) == 2
    assert await wire.produce(*one, 2, pairs("d")) == 3
    assert await wire.read(committed=True) == ([(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")], 4)


@case
async def a_batch_sent_twice_is_written_once(wire: Wire) -> None:
    """The repeat is answered with the offset of the first."""
    producer = await wire.init()
    for sequence in range(5):
        assert await wire.produce(*producer, sequence, pairs(str(sequence))) == sequence
    assert await wire.produce(*producer, 2, pairs("2")) == 2
    assert await wire.bounds(committed=False) == (0, 5)


@case
async def a_repeat_of_long_ago_is_refused(wire: Wire) -> None:
    """Only the last five batches are remembered."""
    producer = await wire.init()
    for sequence in range(7):
        await wire.produce(*producer, sequence, pairs("x"))
    with pytest.raises(kafka_errors.OutOfOrderSequenceNumber):
        await wire.produce(*producer, 0, pairs("x"))
    assert await wire.bounds(committed=False) == (0, 7)


@case
async def a_gap_is_refused(wire: Wire) -> None:
    producer = await wire.init()
    await wire.produce(*producer, 0, pairs("a"))
    with pytest.raises(kafka_errors.OutOfOrderSequenceNumber):
        await wire.produce(*producer, 2, pairs("c"))
    assert await wire.produce(*producer, 1, pairs("b")) == 1


@case
async def a_producer_nobody_knows_may_begin_anywhere(wire: Wire) -> None:
    pid, epoch = await wire.init()
    assert await wire.produce(pid, epoch, 7, pairs("a")) == 0
    with pytest.raises(kafka_errors.OutOfOrderSequenceNumber):
        await wire.produce(pid, epoch, 9, pairs("b"))


@case
async def a_new_epoch_begins_at_zero(wire: Wire) -> None:
    name = wire.transactional_id()
    old = await wire.init(name)
    await wire.add_partitions(name, *old)
    await wire.produce(*old, 0, pairs("a", "b"), transactional_id=name)
    await wire.end(name, *old, commit=True)
    new = await wire.init(name)
    await wire.add_partitions(name, *new)
    with pytest.raises(kafka_errors.OutOfOrderSequenceNumber):
        await wire.produce(*new, 2, pairs("c"), transactional_id=name)
    assert await wire.produce(*new, 0, pairs("c"), transactional_id=name) == 3


# ---------------------------------------------------------------------------------------------- transactions


@case
async def an_open_transaction_is_seen_by_the_impatient_alone(wire: Wire) -> None:
    """Its marker takes an offset; a reader of what is committed stops before it, and so does the end it is told."""
    name = wire.transactional_id()
    producer = await wire.init(name)
    await wire.add_partitions(name, *producer)
    await wire.produce(*producer, 0, pairs("a", "b"), transactional_id=name)
    assert await wire.bounds(committed=True) == (0, 0)
    assert await wire.bounds(committed=False) == (0, 2)
    assert await wire.read(committed=True) == ([], 0)
    assert (await wire.read(committed=False))[0] == [(0, b"a"), (1, b"b")]
    await wire.end(name, *producer, commit=True)
    await wire.settled(name)
    assert await wire.bounds(committed=True) == (0, 3)
    assert await wire.read(committed=True) == ([(0, b"a"), (1, b"b")], 3)


@case
async def records_of_others_wait_behind_an_open_transaction(wire: Wire) -> None:
    name = wire.transactional_id()
    producer, other = await wire.init(name), await wire.init()
    await wire.add_partitions(name, *producer)
    await wire.produce(*other, 0, pairs("before"))
    await wire.produce(*producer, 0, pairs("inside"), transactional_id=name)
    await wire.produce(*other, 1, pairs("after"))
    assert await wire.read(committed=True) == ([(0, b"before")], 1)
    await wire.end(name, *producer, commit=False)
    await wire.settled(name)
    assert await wire.read(committed=True) == ([(0, b"before"), (2, b"after")], 4)
    assert (await wire.read(committed=False))[0] == [(0, b"before"), (1, b"inside"), (2, b"after")]


@case
async def what_is_aborted_is_never_read_and_what_follows_is(wire: Wire) -> None:
    name = wire.transactional_id()
    producer = await wire.init(name)
    for round_, commit in enumerate((False, True, False)):
        await wire.add_partitions(name, *producer)
        await wire.produce(*producer, round_, pairs(f"r{round_}"), transactional_id=name)
        await wire.end(name, *producer, commit=commit)
    await wire.settled(name)
    assert await wire.read(committed=True) == ([(2, b"r1")], 6)
    assert await wire.read(committed=True, start=3) == ([], 6)
    assert [value for _, value in (await wire.read(committed=False))[0]] == [b"r0", b"r1", b"r2"]


@case
async def a_transaction_spans_partitions(wire: Wire) -> None:
    name = wire.transactional_id()
    producer = await wire.init(name)
    await wire.add_partitions(name, *producer, (0, 1))
    await wire.produce(*producer, 0, pairs("zero"), transactional_id=name)
    await wire.produce(*producer, 0, pairs("one"), transactional_id=name, partition=1)
    await wire.end(name, *producer, commit=False)
    await wire.settled(name)
    assert await wire.read(committed=True) == ([], 2)
    assert await wire.read(committed=True, partition=1) == ([], 2)


@case
async def a_partition_that_was_not_added_refuses(wire: Wire) -> None:
    name = wire.transactional_id()
    producer = await wire.init(name)
    with pytest.raises(kafka_errors.InvalidTxnState):
        await wire.produce(*producer, 0, pairs("a"), transactional_id=name)
    assert await wire.bounds(committed=False) == (0, 0)


@case
async def what_was_not_begun_cannot_be_ended(wire: Wire) -> None:
    name = wire.transactional_id()
    producer = await wire.init(name)
    with pytest.raises(kafka_errors.InvalidTxnState):
        await wire.end(name, *producer, commit=True)


@case
async def an_end_may_be_asked_for_twice_but_not_changed(wire: Wire) -> None:
    """The answer to a commit may have been lost: the same question again is no error."""
    name = wire.transactional_id()
    producer = await wire.init(name)
    await wire.add_partitions(name, *producer)
    await wire.produce(*producer, 0, pairs("a"), transactional_id=name)
    await wire.end(name, *producer, commit=True)
    await wire.end(name, *producer, commit=True)
    with pytest.raises(kafka_errors.InvalidTxnState):
        await wire.end(name, *producer, commit=False)


@case
async def a_strange_producer_id_is_refused(wire: Wire) -> None:
    name = wire.transactional_id()
    pid, epoch = await wire.init(name)
    with pytest.raises(kafka_errors.InvalidProducerIdMapping):
        await wire.add_partitions(name, pid + 1_000_000, epoch)
    with pytest.raises(kafka_errors.InvalidProducerIdMapping):
        await wire.end(name, pid + 1_000_000, epoch, commit=True)


# ---------------------------------------------------------------------------------------------- offsets in transactions


@case
async def a_position_in_a_transaction_counts_when_it_is_committed(wire: Wire) -> None:
    name, group = wire.transactional_id(), wire.group()
    producer = await wire.init(name)
    for offset, commit, then in ((5, True, 5), (9, False, 5)):
        before = await wire.committed(group)
        await wire.add_offsets(name, *producer, group)
        await wire.commit_offset_in_transaction(name, *producer, group, offset)
        assert await wire.committed(group) == before
        await wire.end(name, *producer, commit=commit)
        await until(lambda then=then: reads(wire, group, then))  # type: ignore[misc]


@case
async def a_position_needs_its_group_in_the_transaction(wire: Wire) -> None:
    name, group = wire.transactional_id(), wire.group()
    producer = await wire.init(name)
    with pytest.raises(kafka_errors.InvalidTxnState):
        await wire.commit_offset_in_transaction(name, *producer, group, 1)
    assert await wire.committed(group) is None


# ---------------------------------------------------------------------------------------------- fencing


@case
async def a_new_owner_shuts_out_an_idle_one(wire: Wire) -> None:
    name, group = wire.transactional_id(), wire.group()
    old = await wire.init(name)
    new = await wire.init(name)
    assert new == (old[0], old[1] + 1)
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.add_partitions(name, *old)
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.add_offsets(name, *old, group)
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.end(name, *old, commit=True)


@case
async def a_new_owner_aborts_what_the_old_one_has_open(wire: Wire) -> None:
    """Its records are aborted before the new owner gets its epoch, its positions are forgotten, and it can do nothing more."""
    name, group = wire.transactional_id(), wire.group()
    old = await wire.init(name)
    await wire.add_partitions(name, *old)
    await wire.produce(*old, 0, pairs("a"), transactional_id=name)
    await wire.add_offsets(name, *old, group)
    await wire.commit_offset_in_transaction(name, *old, group, 3)
    new = await wire.init(name)
    assert new[0] == old[0]
    assert new[1] > old[1]
    assert await wire.read(committed=True) == ([], 2)
    assert await wire.committed(group) is None
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.produce(*old, 1, pairs("b"), transactional_id=name)
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.commit_offset_in_transaction(name, *old, group, 4)
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.end(name, *old, commit=True)
    assert await wire.bounds(committed=False) == (0, 2)


@case
async def a_frozen_owner_cannot_write_into_the_transaction_of_the_new_one(wire: Wire) -> None:
    name, group = wire.transactional_id(), wire.group()
    old = await wire.init(name)
    await wire.add_partitions(name, *old)
    await wire.add_offsets(name, *old, group)
    new = await wire.init(name)
    await wire.add_partitions(name, *new)
    await wire.add_offsets(name, *new, group)
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.produce(*old, 0, pairs("old"), transactional_id=name)
    with pytest.raises(kafka_errors.InvalidProducerEpoch):
        await wire.commit_offset_in_transaction(name, *old, group, 8)
    await wire.produce(*new, 0, pairs("new"), transactional_id=name)
    await wire.commit_offset_in_transaction(name, *new, group, 2)
    await wire.end(name, *new, commit=True)
    await until(lambda: reads(wire, group, 2))
    assert [value for _, value in (await wire.read(committed=True))[0]] == [b"new"]


@case
async def a_commit_that_was_accepted_is_seen_by_the_next_owner(wire: Wire) -> None:
    """The new owner gets its epoch only after the markers are written: then it finds state and position together."""
    name, group = wire.transactional_id(), wire.group()
    old = await wire.init(name)
    await wire.add_partitions(name, *old)
    await wire.produce(*old, 0, pairs("state"), transactional_id=name)
    await wire.add_offsets(name, *old, group)
    await wire.commit_offset_in_transaction(name, *old, group, 7)
    await wire.end(name, *old, commit=True)
    await wire.init(name)
    assert await wire.committed(group) == 7
    assert await wire.read(committed=True) == ([(0, b"state")], 2)


# ---------------------------------------------------------------------------------------------- groups


@case
async def only_a_member_of_the_present_generation_commits(wire: Wire) -> None:
    group = wire.group()
    first = await wire.join(group)
    assert sorted(await wire.sync(group, first)) == [0, 1]
    await wire.commit(group, first.member, first.generation, 1)
    with pytest.raises(kafka_errors.IllegalGenerationError):
        await wire.commit(group, first.member, first.generation - 1, 2)
    with pytest.raises(kafka_errors.UnknownMemberIdError):
        await wire.commit(group, "nobody", first.generation, 3)
    with pytest.raises(kafka_errors.UnknownMemberIdError):
        await wire.commit(group, "", -1, 4)
    assert await wire.committed(group) == 1


@case
async def a_rebalance_goes_through_all_its_stages(wire: Wire) -> None:
    """While others join, the old generation may still commit; once the new one waits for its assignment, nobody may."""
    group = wire.group()
    first = await wire.join(group)
    await wire.sync(group, first)
    joining = asyncio.ensure_future(wire.join(group))
    await until(lambda: refuses(wire.heartbeat(group, first), kafka_errors.RebalanceInProgressError))
    await wire.commit(group, first.member, first.generation, 5)
    again, second = await asyncio.gather(wire.join(group, first.member), joining)
    assert again.generation == second.generation > first.generation
    assert again.leader != second.leader
    with pytest.raises(kafka_errors.IllegalGenerationError):
        await wire.commit(group, first.member, first.generation, 6)
    with pytest.raises(kafka_errors.RebalanceInProgressError):
        await wire.commit(group, again.member, again.generation, 7)
    shares = await asyncio.gather(wire.sync(group, again), wire.sync(group, second))
    assert sorted(number for share in shares for number in share) == [0, 1]
    await wire.commit(group, again.member, again.generation, 8)
    assert await wire.committed(group) == 8


@case
async def who_has_left_is_not_known(wire: Wire) -> None:
    group = wire.group()
    first = await wire.join(group)
    await wire.sync(group, first)
    await wire.leave(group, first)
    with pytest.raises(kafka_errors.UnknownMemberIdError):
        await wire.heartbeat(group, first)
    with pytest.raises(kafka_errors.UnknownMemberIdError):
        await wire.join(group, first.member)
    with pytest.raises(kafka_errors.UnknownMemberIdError):
        await wire.commit(group, first.member, first.generation, 1)


@case
async def a_static_member_comes_back_without_a_rebalance(wire: Wire) -> None:
    """Under the same name: the same generation and partitions; the one before it is not known any more."""
    group = wire.group()
    first = await wire.join(group, instance="name")
    mine = await wire.sync(group, first)
    back = await wire.join(group, instance="name")
    assert back.generation == first.generation
    assert back.member != first.member
    assert await wire.sync(group, back) == mine
    await wire.commit(group, back.member, back.generation, 1)
    with pytest.raises((kafka_errors.UnknownMemberIdError, kafka_errors.UnknownError)):
        await wire.commit(group, first.member, first.generation, 2)
    assert await wire.committed(group) == 1


# ---------------------------------------------------------------------------------------------- housekeeping


@case
async def compaction_keeps_the_last_value_and_its_offset(wire: Wire) -> None:
    """A reader from the start sees the last committed value of each key; offsets and the end stay; what was aborted is gone."""
    name = wire.transactional_id()
    producer = await wire.init(name)
    for round_, commit in enumerate((True, True, False)):
        await wire.add_partitions(name, *producer)
        batch = [(b"a", b"a%d" % round_), (b"b", b"b%d" % round_)] if round_ != 1 else [(b"a", b"a1")]
        sequence = (0, 2, 3)[round_]
        await wire.produce(*producer, sequence, batch, transactional_id=name)
        await wire.end(name, *producer, commit=commit)
    await wire.settled(name)
    _, end = await wire.bounds(committed=True)
    await wire.compact()
    found, _ = await wire.read(committed=True)
    assert [each for each in found if each[1] != b"the segment"] == [(1, b"b0"), (3, b"a1")]
    assert (await wire.bounds(committed=True))[0] == 0
    assert (await wire.bounds(committed=True))[1] >= end


@case
async def what_retention_has_deleted_is_out_of_range(wire: Wire) -> None:
    producer = await wire.init()
    await wire.produce(*producer, 0, pairs("a", "b", "c"))
    await wire.delete_before(2)
    assert await wire.bounds(committed=True) == (2, 3)
    assert await wire.read(committed=True, start=2) == ([(2, b"c")], 3)
    with pytest.raises(kafka_errors.OffsetOutOfRangeError):
        await wire.read(committed=True, start=0)


async def reads(wire: Wire, group: str, offset: int) -> bool:
    return await wire.committed(group) == offset


async def refuses(asked: Awaitable[None], error: type[Exception]) -> bool:
    try:
        await asked
    except error:
        return True
    return False


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(400):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to be so")
