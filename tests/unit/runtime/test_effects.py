"""The watermark and the effects log: what may be committed, and what records see meanwhile."""

from __future__ import annotations

import random

import pytest

from streams.runtime.effects import Batch, EffectsLog
from streams.runtime.store import StateStore
from tests.unit.runtime.fakes import measured


class TextCodec:
    def encode(self, state: str) -> bytes:
        return state.encode()

    def decode(self, data: bytes) -> str:
        return data.decode()


def log_at(position: int) -> EffectsLog[str]:
    log: EffectsLog[str] = EffectsLog(StateStore(TextCodec()))
    log.begin(position)
    return log


def commit(log: EffectsLog[str]) -> Batch[str] | None:
    batch = log.take()
    if batch is not None:
        log.committed(batch, {key: None if put.state is None else put.state.encode() for key, put in batch.puts.items()})
    return batch


def written(batch: Batch[str] | None) -> dict[str, str | None]:
    assert batch is not None
    return {key: put.state for key, put in batch.puts.items()}


def test_the_watermark_waits_for_the_slowest_record():
    """Offsets 5, 6, 7: the position stays at 5 until 5 is settled, then passes all three."""
    log = log_at(5)
    slow, fast, faster = (log.open(offset) for offset in (5, 6, 7))
    assert not log.settle(fast)
    assert not log.settle(faster)
    assert log.take() is None
    assert log.settle(slow)
    batch = log.take()
    assert batch is not None
    assert batch.position == 8


def test_the_watermark_crosses_gaps_in_the_offsets():
    log = log_at(0)
    first, second = log.open(3), log.open(9)
    log.settle(first)
    assert log.position == 4
    log.settle(second)
    assert log.position == 10


def test_a_commit_carries_no_state_newer_than_its_position():
    log = log_at(0)
    slow, fast = log.open(0), log.open(1)
    log.apply(fast, measured({"b": "later"}))
    log.settle(fast)
    assert log.take() is None
    log.apply(slow, measured({"a": "earlier"}))
    log.settle(slow)
    assert written(log.take()) == {"a": "earlier", "b": "later"}


def test_only_the_last_state_of_a_key_is_written():
    log = log_at(0)
    for offset in range(3):
        entry = log.open(offset)
        log.apply(entry, measured({"k": f"v{offset}"}))
        log.settle(entry)
    assert written(commit(log)) == {"k": "v2"}
    assert commit(log) is None


def test_the_last_state_below_the_watermark_is_written_while_records_see_the_newest():
    log = log_at(0)
    first, slow, third = (log.open(offset) for offset in range(3))
    log.apply(first, measured({"k": "v0"}))
    log.apply(third, measured({"k": "v2"}))
    log.settle(first)
    log.settle(third)
    assert written(commit(log)) == {"k": "v0"}
    assert log.get("k") == "v2"
    assert log.store.get("k") == "v0"
    log.settle(slow)
    assert written(commit(log)) == {"k": "v2"}


def test_a_put_of_none_deletes_at_once_for_records_and_with_the_commit_for_the_changelog():
    log = log_at(0)
    log.store.load(b"k", b"old")
    entry = log.open(0)
    log.apply(entry, measured({"k": None}))
    assert log.get("k") is None
    assert log.store.get("k") == "old"
    log.settle(entry)
    assert written(commit(log)) == {"k": None}
    assert log.store.get("k") is None


async def test_a_journal_entry_is_handed_out_ahead_of_the_position():
    log = log_at(0)
    log.open(0)
    journal = log.journal("k", "intent")
    batch = log.take()
    assert batch is not None
    assert batch.position is None
    assert written(batch) == {"k": "intent"}
    assert not journal.durable.done()
    log.committed(batch, {"k": b"intent"})
    assert journal.durable.done()
    assert log.get("k") == "intent"


async def test_a_put_older_than_a_durable_journal_entry_is_never_written_over_it():
    """A slow record holds the watermark, a later one puts, and a still later one of the same key journals."""
    log = log_at(0)
    slow, earlier, later = (log.open(offset) for offset in range(3))
    log.apply(earlier, measured({"k": "put"}))
    log.settle(earlier)
    log.journal("k", "journalled")
    commit(log)
    assert log.get("k") == "journalled"
    log.settle(slow)
    assert written(commit(log)) == {}
    assert log.get("k") == "journalled"
    log.apply(later, measured({"k": "after"}))
    log.settle(later)
    assert written(commit(log)) == {"k": "after"}


def test_a_put_that_goes_ahead_is_durable_before_the_position_and_written_once():
    log = log_at(0)
    slow, fast = log.open(0), log.open(1)
    log.apply(fast, measured({"k": "done"}), ahead=True)
    assert log.get("k") == "done"
    batch = commit(log)
    assert batch is not None
    assert (batch.position, written(batch)) == (None, {"k": "done"})
    assert log.take() is None
    log.settle(fast)
    log.settle(slow)
    batch = commit(log)
    assert batch is not None
    assert (batch.position, written(batch)) == (2, {})
    assert log.get("k") == "done"
    assert not log._pending


def test_of_two_puts_that_go_ahead_the_later_one_is_written():
    log = log_at(0)
    log.open(0)
    for offset, state in ((1, "first"), (2, "second")):
        log.apply(log.open(offset), measured({"k": state}), ahead=True)
    assert written(commit(log)) == {"k": "second"}


async def test_what_waits_in_the_journal_of_a_lost_partition_is_refused():
    log = log_at(0)
    journal = log.journal("k", "intent")
    log.abandon(RuntimeError("lost"))
    with pytest.raises(RuntimeError, match="lost"):
        await journal.durable


def test_items_shows_states_with_and_without_uncommitted_changes():
    log = log_at(0)
    for key in ("kept", "changed", "deleted"):
        log.store.load(key.encode(), b"old")
    log.apply(log.open(0), measured({"changed": "new", "deleted": None, "added": "new"}))
    assert dict(log.items()) == {"kept": "old", "changed": "new", "added": "new"}


@pytest.mark.parametrize("seed", range(40))
async def test_any_schedule_commits_what_a_sequential_run_would_have_at_that_position(seed: int):
    """Records of one key settle in order, across keys in any order, with commits, journal entries and puts ahead at any time."""
    dice = random.Random(seed)
    records = [(offset, f"k{dice.randrange(3)}") for offset in range(30)]
    log = log_at(0)
    entries = {offset: log.open(offset) for offset, _ in records}
    waiting, applied = list(records), dict.fromkeys(("k0", "k1", "k2"), "")
    journalled: dict[str, int] = {}
    ahead: dict[str, int] = {}
    unsettled: list[int] = []
    while waiting or unsettled:
        choice = dice.random()
        if choice < 0.5 and waiting:
            ready = [record for index, record in enumerate(waiting) if record[1] not in {key for _, key in waiting[:index]}]
            offset, key = dice.choice(ready)
            waiting.remove((offset, key))
            assert (log.get(key) or "") == applied[key]
            applied[key] += f".{offset}"
            if dice.random() < 0.2:
                log.journal(key, applied[key])
                ahead[key] = offset
                commit(log)
                journalled |= ahead
            elif dice.random() < 0.3:
                log.apply(entries[offset], measured({key: applied[key]}), ahead=True)
                ahead[key] = offset
            else:
                log.apply(entries[offset], measured({key: applied[key]}))
            unsettled.append(offset)
        elif choice < 0.8 and unsettled:
            log.settle(entries[unsettled.pop(dice.randrange(len(unsettled)))])
        else:
            commit(log)
            journalled |= ahead
        for key in applied:
            done = [offset for offset, of in records if of == key and offset <= max(journalled.get(key, -1), log._handed_out - 1)]
            assert (log.store.get(key) or "") == "".join(f".{offset}" for offset in done)
    commit(log)
    assert log.position == 30
    assert not log._pending
