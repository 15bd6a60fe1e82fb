"""What has arrived and is not done with is bounded in bytes, and whatever is done, something goes on."""

from __future__ import annotations

import random

import pytest
from aiokafka import TopicPartition

from streams.runtime.broker.arrived import LEAST_SHARE, Arrived

MIB = 1 << 20
A, B, C, D = (TopicPartition("t", number) for number in range(4))


@pytest.fixture
def arrived() -> Arrived:
    made = Arrived(8 * MIB)
    for partition in (A, B, C, D):
        made.join(partition)
    return made


def test_a_partition_that_has_its_share_is_not_asked_for_while_others_are(arrived: Arrived):
    arrived.add(A, 10, 2 * MIB)
    assert arrived.room(A) == 0
    assert not arrived.takes(A)
    assert arrived.room(B) == 2 * MIB


def test_what_is_handled_makes_room_and_says_so_once(arrived: Arrived):
    arrived.add(A, 10, MIB)
    arrived.add(A, 20, 2 * MIB)
    assert not arrived.release(A, 9), "the first piece is not through"
    assert not arrived.release(A, 10), "and the second is still too much"
    assert arrived.release(A, 20)
    assert not arrived.release(A, 20)
    assert arrived.used == 0


def test_a_record_larger_than_everything_is_taken_by_who_has_nothing(arrived: Arrived):
    assert arrived.room(A) > 0
    assert arrived.takes(A)
    arrived.add(A, 1, 12 * MIB)
    assert arrived.room(B) > 0, "who has nothing is not starved by who has much…"
    arrived.add(B, 1, 12 * MIB)
    assert arrived.room(C) == 0, "…up to twice the bound"
    assert not arrived.takes(C)


def test_a_large_record_makes_room_before_those_in_front_of_it_are_through(arrived: Arrived):
    arrived.add(A, 10, MIB)
    arrived.add(A, 20, MIB)
    assert arrived.room(A) == 0
    assert arrived.lighten(A, 15, MIB // 2)
    assert arrived.room(A) == arrived.most // 4 - MIB - MIB // 2
    arrived.lighten(A, 16, 10 * MIB)
    arrived.lighten(A, 25, MIB)
    assert arrived.used == MIB, "no more than had come with it"
    arrived.release(A, 20)
    assert arrived.used == 0


def test_what_is_sought_again_is_not_counted_twice(arrived: Arrived):
    arrived.add(A, 10, MIB)
    arrived.add(A, 20, MIB)
    arrived.drop(A, 10)
    assert arrived.used == MIB
    arrived.drop(A, 0)
    assert arrived.used == 0


def test_a_partition_that_is_given_away_leaves_nothing(arrived: Arrived):
    arrived.add(A, 10, MIB)
    arrived.leave(A)
    arrived.release(A, 10)
    assert arrived.used == 0


def test_many_partitions_have_a_least_share_each(arrived: Arrived):
    for number in range(4, 100):
        arrived.join(TopicPartition("t", number))
    assert arrived.room(A) == LEAST_SHARE


def test_whatever_order_things_come_in_the_sum_is_what_is_held():
    """And who is asked for and takes what comes is never refused when nothing is held."""
    for seed in range(200):
        chance, arrived, held = random.Random(seed), Arrived(4 * MIB), dict[TopicPartition, list[tuple[int, int]]]()
        for _ in range(300):
            tp = chance.choice((A, B, C, D))
            arrived.join(tp)
            pieces = held.setdefault(tp, [])
            match chance.randrange(4):
                case 0 if arrived.takes(tp):
                    following, size = (pieces[-1][0] if pieces else 0) + chance.randint(1, 9), chance.randint(1, 3 * MIB)
                    arrived.add(tp, following, size)
                    pieces.append((following, size))
                case 1:
                    position = chance.randint(0, 30)
                    arrived.release(tp, position)
                    held[tp] = [piece for piece in pieces if piece[0] > position]
                case 2:
                    position = chance.randint(0, 30)
                    arrived.drop(tp, position)
                    held[tp] = [piece for piece in pieces if piece[0] <= position]
                case 3 if chance.random() < 0.1:
                    arrived.leave(tp)
                    del held[tp]
            assert arrived.used == sum(size for each in held.values() for _, size in each)
            assert arrived.used <= 2 * arrived.most + 3 * MIB
            assert arrived.used or all(arrived.takes(each) for each in held)
